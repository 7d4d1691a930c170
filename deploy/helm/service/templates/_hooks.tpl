{{/*
A hook's Job: `migrate` or `streams`, each before or after the release. Takes the context, its name,
the arguments, the Secrets of the database and of the broker, and when. Before the first install
there are neither the service's ServiceAccount nor its NetworkPolicy: it has its own.
*/}}
{{- define "service.hookJob" -}}
{{- $context := index . 0 -}}
{{- $job := index . 1 -}}
{{- with $context -}}
{{- $name := printf "%s-%s" (include "service.deployment" .) $job.name -}}
{{- if .Values.networkPolicy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  labels: {{- include "service.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $job.hook }}
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  podSelector:
    matchLabels:
      app: {{ $name }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "service.commonEgress" . | nindent 4 }}
    {{- if .Values.facts.database }}
    {{- include "service.databaseEgress" . | nindent 4 }}
    {{- end }}
    {{- if $job.broker }}
    {{- include "service.brokerEgress" . | nindent 4 }}
    {{- end }}
---
{{- end }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels: {{- include "service.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $job.hook }}
    helm.sh/hook-weight: {{ $job.weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: 6
  template:
    metadata:
      labels:
        {{- include "service.labels" . | nindent 8 }}
        app: {{ $name }}
    spec:
      restartPolicy: OnFailure
      {{- include "service.podSecurity" . | nindent 6 }}
      containers:
        - name: {{ $job.name }}
          args: {{ $job.args | toJson }}
          {{- include "service.container" . | nindent 10 }}
          resources: {{- toYaml .Values.resources | nindent 12 }}
          volumeMounts: {{- include "service.mounts" . | nindent 12 }}
      volumes:
        {{- include "service.volumes" (list . $job.databaseSecret $job.natsSecret) | nindent 8 }}
{{- end -}}
{{- end -}}
