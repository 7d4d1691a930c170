{{/*
A hook's Job: `migrate` or `streams`, before or after the release. Takes the context of the newest image,
its name, the arguments, the Secrets of the database and of the broker, and the hook's time. It has its
own NetworkPolicy, because the service's does not exist before the first install.
*/}}
{{- define "service.hookJob" -}}
{{- $context := index . 0 -}}
{{- $job := index . 1 -}}
{{- with $context -}}
{{- $name := printf "%s-%s" (include "service.name" .) $job.name -}}
{{- $hook := printf "helm.sh/hook: %s\nhelm.sh/hook-delete-policy: before-hook-creation,hook-succeeded" $job.hook -}}
{{- if .Values.networkPolicy.enabled }}
{{- include "service.commandPolicy" (list . $name $job $hook) }}
---
{{- end }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels: {{- include "service.labels" . | nindent 4 }}
  annotations:
    {{- $hook | nindent 4 }}
    helm.sh/hook-weight: {{ $job.weight | quote }}
spec:
  backoffLimit: 6
  template:
    {{- include "service.commandPod" (list . $name $job) | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* The pod of a command of the service; takes the context, the value of its label `app`, and the job. */}}
{{- define "service.commandPod" -}}
{{- $name := index . 1 -}}
{{- $job := index . 2 -}}
{{- with index . 0 -}}
metadata:
  labels:
    {{- include "service.podLabels" . | nindent 4 }}
    app: {{ $name }}
spec:
  restartPolicy: OnFailure
  {{- include "service.podSecurity" . | nindent 2 }}
  containers:
    - name: {{ $job.name }}
      args: {{ $job.args | toJson }}
      {{- include "service.container" . | nindent 6 }}
      resources: {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts: {{- include "service.mounts" (list . "settings") | nindent 8 }}
  volumes:
    {{- include "service.volumes" (list . $job.databaseSecret $job.natsSecret) | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* The NetworkPolicy of that pod; takes the same, and a hook's annotations or nothing. */}}
{{- define "service.commandPolicy" -}}
{{- $name := index . 1 -}}
{{- $job := index . 2 -}}
{{- $hook := index . 3 -}}
{{- with index . 0 }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  labels: {{- include "service.labels" . | nindent 4 }}
  {{- with $hook }}
  annotations:
    {{- . | nindent 4 }}
    helm.sh/hook-weight: "-10"
  {{- end }}
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
{{- end }}
{{- end -}}
