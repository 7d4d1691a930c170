{{- define "slipway.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Labels of the pods of broker and database: in a mesh they ask for their sidecars. */}}
{{- define "slipway.podLabels" -}}
{{- include "slipway.labels" . }}
{{- if dig "mesh" "enabled" false .Values.global }}
sidecar.istio.io/inject: "true"
{{- end }}
{{- end -}}

{{/* Names of the services of this release, sorted. */}}
{{- define "slipway.services" -}}
{{- $names := list -}}
{{- range $alias, $values := omit .Values "global" -}}
{{- if and (kindIs "map" $values) (dig "facts" "name" "" $values) $values.enabled -}}
{{- $names = append $names $values.facts.name -}}
{{- end -}}
{{- end -}}
{{- $names | sortAlpha | toYaml -}}
{{- end -}}

{{/* Services with a database, sorted; also those that are not enabled: they may be other releases. */}}
{{- define "slipway.databases" -}}
{{- $names := list -}}
{{- range $alias, $values := omit .Values "global" -}}
{{- if and (kindIs "map" $values) (dig "facts" "database" false $values) -}}
{{- $names = append $names $values.facts.name -}}
{{- end -}}
{{- end -}}
{{- $names | sortAlpha | toYaml -}}
{{- end -}}

{{/* Restricted Pod Security, for the user and group given. */}}
{{- define "slipway.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "slipway.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A StatefulSet's volume `data`: a claim, or none; takes its `storage` values. */}}
{{- define "slipway.claim" -}}
{{- if .enabled -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ .whenDeleted }}
  whenScaled: Retain
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .size }}
{{- end -}}
{{- end -}}
