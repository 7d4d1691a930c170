{{- define "slipway.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Labels of the broker's and the database's pods; in a mesh with the label for a sidecar. */}}
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

{{/* Services with a database, sorted, also disabled ones, which may be in other releases. */}}
{{- define "slipway.databases" -}}
{{- $names := list -}}
{{- range $alias, $values := omit .Values "global" -}}
{{- if and (kindIs "map" $values) (dig "facts" "database" false $values) -}}
{{- $names = append $names $values.facts.name -}}
{{- end -}}
{{- end -}}
{{- $names | sortAlpha | toYaml -}}
{{- end -}}

{{/* Fields for restricted Pod Security, with the given user and group. */}}
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

{{/* The volume `data` of a StatefulSet by its `storage` values: a claim, or an emptyDir. */}}
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
