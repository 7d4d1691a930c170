{{/*
Merge the service's values over `global` over `defaults` into .Values, and set .Track and .Tracks. Every
template begins with it; only the first call changes anything.
*/}}
{{- define "service.prepare" -}}
{{- if hasKey .Values "defaults" -}}
{{- $global := .Values.global | default dict -}}
{{- $own := omit .Values "defaults" "global" -}}
{{- $merged := mustMergeOverwrite (deepCopy .Values.defaults) (deepCopy $global) (deepCopy $own) -}}
{{- $_ := set . "Values" $merged -}}
{{- include "service.separateTracks" . -}}
{{- include "service.check" . -}}
{{- end -}}
{{- end -}}

{{- define "service.name" -}}
{{ .Values.facts.name }}
{{- end -}}

{{/* Labels of every object, except those of the selector, `app` and `track`. */}}
{{- define "service.labels" -}}
app.kubernetes.io/name: {{ include "service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ include "service.version" . | quote }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The version: the image's tag, else the begin of its digest, shortened to the length of a label. */}}
{{- define "service.version" -}}
{{- $image := .Values.image -}}
{{- $tag := splitList "@" $image.reference | first | regexFind ":[^:/]+$" | trimPrefix ":" -}}
{{- $digest := $image.digest | default (regexFind "sha256:[0-9a-f]+$" $image.reference) -}}
{{- $short := $digest | trimPrefix "sha256:" | trunc 12 -}}
{{- $tag | default $image.tag | default $short | default .Chart.AppVersion | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "service.image" -}}
{{- $image := .Values.image -}}
{{- if $image.reference -}}
{{ $image.reference }}
{{- else -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ .Values.facts.image }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Whether the service uses the broker. */}}
{{- define "service.hasEvents" -}}
{{- with .Values.facts }}{{ if or .publishes .subscribes .foreign .database }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The gRPC callers by their label `app`: services that declare calls, and `extraCallers`. */}}
{{- define "service.callers" -}}
{{- merge (dict) (.Values.facts.callers | default dict) .Values.extraCallers | toYaml -}}
{{- end -}}

{{/* The image's arguments for migrations. */}}
{{- define "service.migrate" -}}
["migrate", "--wait", "{{ include "service.waitSeconds" . }}"]
{{- end -}}

{{/* Seconds that a command waits for an unavailable database or broker, because restarts back off. */}}
{{- define "service.waitSeconds" -}}120{{- end -}}

{{- define "service.databaseSecret" -}}
{{- tpl .Values.database.existingSecret . -}}
{{- end -}}

{{- define "service.migrationSecret" -}}
{{- tpl (.Values.database.migrationSecret | default .Values.database.existingSecret) . -}}
{{- end -}}

{{/* Whether the service needs streams: its own, or that of the members. */}}
{{- define "service.hasStream" -}}
{{- with .Values.facts }}{{ if or .publishes .database }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The name of the port with /metrics. */}}
{{- define "service.metricsPort" -}}
{{- if .Values.metrics.port }}metrics{{ else }}http{{ end -}}
{{- end -}}

{{/* Scales up at once and down slowly, because lanes move with every replica. */}}
{{- define "service.scalingBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
{{- end -}}
