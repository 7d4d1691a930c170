{{/*
Merge the service's values over `global` over `defaults` into .Values. Every template begins with it;
only the first call changes anything.
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
{{- fail "metrics.port is missing: in a mesh Prometheus has no certificate and is admitted to a separate port only, for example 9100" -}}
{{- end -}}
{{- if gt ($drain.delaySeconds | int) ($drain.graceSeconds | int) -}}
{{- fail "drain.delaySeconds is above drain.graceSeconds: the service would cut its delay short" -}}
{{- end -}}
{{- if and $merged.entry.weights (not $merged.trackServices) -}}
{{- fail "entry.weights needs the Services <name>-stable and <name>-canary: set trackServices=true" -}}
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

{{/* The name of this release's Deployment, and of the object that scales it. */}}
{{- define "service.deployment" -}}
{{ include "service.name" . }}{{ if ne .Values.track "stable" }}-{{ .Values.track }}{{ end }}
{{- end -}}

{{/* The labels that select the service's pods. A Deployment's selector is immutable: never change it. */}}
{{- define "service.selector" -}}
app: {{ include "service.name" . }}
track: {{ .Values.track }}
{{- end -}}

{{/* Labels of every object, except those of the selector, `app` and `track`. */}}
{{- define "service.labels" -}}
app.kubernetes.io/name: {{ include "service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ include "service.version" . | quote }}
app.kubernetes.io/part-of: slipway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The version: the image's tag, shortened to the length of a label. */}}
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

{{/* Whether the service uses the broker. */}}
{{- define "service.hasEvents" -}}
{{- with .Values.facts }}{{ if or .publishes .subscribes .foreign .database }}true{{ end }}{{ end -}}
{{- end -}}

{{/* Whether this release takes a share of the events: a canary that reads lanes. */}}
{{- define "service.hasWeight" -}}
{{- if and (eq .Values.track "canary") .Values.facts.lanes -}}true{{- end -}}
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
