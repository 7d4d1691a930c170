{{/*
The values in force: the service's own over `global` over `defaults`, as .Values. Every template
begins with it; only the first changes anything.
*/}}
{{- define "service.prepare" -}}
{{- if hasKey .Values "defaults" -}}
{{- $global := .Values.global | default dict -}}
{{- $own := omit .Values "defaults" "global" -}}
{{- $merged := mustMergeOverwrite (deepCopy .Values.defaults) (deepCopy $global) (deepCopy $own) -}}
{{- $_ := set . "Values" $merged -}}
{{- if not (dig "facts" "name" "" $merged) -}}
{{- fail "facts.name is missing: give the service's facts with -f services/<name>/deploy/facts.yaml" -}}
{{- end -}}
{{- $drain := $merged.drain -}}
{{- if and $merged.mesh.enabled $merged.monitoring.serviceMonitor.enabled (not $merged.metrics.port) -}}
{{- fail "metrics.port is missing: in a mesh Prometheus, which has no certificate, is admitted to a port of its own only; 9100 is a usual one" -}}
{{- end -}}
{{- if gt ($drain.delaySeconds | int) ($drain.graceSeconds | int) -}}
{{- fail "drain.delaySeconds is above drain.graceSeconds: the service would cut its delay short" -}}
{{- end -}}
{{- if and $merged.entry.weights (not $merged.trackServices) -}}
{{- fail "entry.weights leads to the Services <name>-stable and <name>-canary: trackServices=true makes them" -}}
{{- end -}}
{{- $scaling := $merged.autoscaling -}}
{{- $lanes := dig "lanes" 0 $merged.facts | int -}}
{{- if and (ne $scaling.kind "none") $lanes (gt ($scaling.maxReplicas | int) $lanes) -}}
{{- fail (printf "autoscaling.maxReplicas (%d) is above the number of lanes (%d): more replicas would read no events" (int $scaling.maxReplicas) $lanes) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "service.name" -}}
{{ .Values.facts.name }}
{{- end -}}

{{/* What this release's Deployment is called, and whatever scales it. */}}
{{- define "service.deployment" -}}
{{ include "service.name" . }}{{ if ne .Values.track "stable" }}-{{ .Values.track }}{{ end }}
{{- end -}}

{{/* What tells the pods of this service apart: never changed, a Deployment's selector can't be. */}}
{{- define "service.selector" -}}
app: {{ include "service.name" . }}
track: {{ .Values.track }}
{{- end -}}

{{/* Labels of every object; `app` and `track` come with the selector, where they belong. */}}
{{- define "service.labels" -}}
app.kubernetes.io/name: {{ include "service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ include "service.version" . | quote }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The version: the tag, as far as a label may say it. */}}
{{- define "service.version" -}}
{{- $reference := splitList "@" .Values.image.reference | first -}}
{{- $tag := regexFind ":[^:/]+$" $reference | trimPrefix ":" -}}
{{- $tag | default .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimSuffix "-" -}}
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

{{/* Whether the service has to do with the broker. */}}
{{- define "service.hasEvents" -}}
{{- with .Values.facts }}{{ if or .publishes .subscribes .foreign .database }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The gRPC callers by the label `app`: those that declare it in their code, and further ones. */}}
{{- define "service.callers" -}}
{{- merge (dict) (.Values.facts.callers | default dict) .Values.extraCallers | toYaml -}}
{{- end -}}

{{/* The arguments by which the image migrates. */}}
{{- define "service.migrate" -}}
["migrate", "--wait", "{{ include "service.waitSeconds" . }}"]
{{- end -}}

{{/* How long a command waits for a database or a broker that is away: a restart would come ever later. */}}
{{- define "service.waitSeconds" -}}120{{- end -}}

{{- define "service.databaseSecret" -}}
{{- tpl .Values.database.existingSecret . -}}
{{- end -}}

{{- define "service.migrationSecret" -}}
{{- tpl (.Values.database.migrationSecret | default .Values.database.existingSecret) . -}}
{{- end -}}

{{/* Whether it has a stream or a place among the members: something to make at the broker. */}}
{{- define "service.hasStream" -}}
{{- with .Values.facts }}{{ if or .publishes .database }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The name of the port with /metrics. */}}
{{- define "service.metricsPort" -}}
{{- if .Values.metrics.port }}metrics{{ else }}http{{ end -}}
{{- end -}}

{{/* Up at once, down with patience: lanes move with every replica. */}}
{{- define "service.scalingBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
{{- end -}}
