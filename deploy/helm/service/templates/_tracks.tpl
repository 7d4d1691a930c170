{{/*
Set .Track to `stable`, and .Tracks to the contexts of the tracks: this one and, if there is a canary,
that of the canary. The canary's context has its image and its own values, so that the templates of one
Deployment render either. The last track has the newest image.
*/}}
{{- define "service.separateTracks" -}}
{{- $_ := set . "Track" "stable" -}}
{{- $_ := set . "Tracks" (list .) -}}
{{- if include "service.hasCanary" . -}}
{{- $canary := .Values.canary -}}
{{- $values := omit .Values "image" "replicas" "autoscaling" "settings" "resources" -}}
{{- $image := omit .Values.image "tag" "digest" "reference" -}}
{{- range $key := list "tag" "digest" "reference" -}}
{{- $_ := set $image $key (get $canary.image $key) -}}
{{- end -}}
{{- $_ := set $values "image" $image -}}
{{- $_ := set $values "replicas" $canary.replicas -}}
{{- range $key := list "autoscaling" "settings" "resources" -}}
{{- $_ := set $values $key (mustMergeOverwrite (get $.Values $key | deepCopy) (get $canary $key)) -}}
{{- end -}}
{{- $context := omit . "Values" "Track" "Tracks" -}}
{{- $_ := set $context "Values" $values -}}
{{- $_ := set $context "Track" "canary" -}}
{{- $_ := set . "Tracks" (list . $context) -}}
{{- end -}}
{{- end -}}

{{/* Whether there is a canary: whether it has an image. */}}
{{- define "service.hasCanary" -}}
{{- with .Values.canary.image }}{{ if or .tag .digest .reference }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The name of the track's Deployment, and of the object that scales it. */}}
{{- define "service.deployment" -}}
{{ include "service.name" . }}{{ if eq .Track "canary" }}-canary{{ end }}
{{- end -}}

{{/* The labels that select the track's pods. A Deployment's selector is immutable: never change it. */}}
{{- define "service.selector" -}}
app: {{ include "service.name" . }}
track: {{ .Track }}
{{- if eq .Values.canary.follows "flagger" }}
# Flagger replaces its value for the primary pods. `app` keeps its own, which policies select.
{{ include "service.followedLabel" . }}: {{ include "service.name" . }}
{{- end }}
{{- end -}}

{{/*
Whether the track's pods read a weight: those of a canary that reads lanes, and all pods if a tool makes the
versions of them.
*/}}
{{- define "service.hasWeight" -}}
{{- if and (or (eq .Track "canary") .Values.canary.follows) .Values.facts.lanes -}}true{{- end -}}
{{- end -}}

{{/* Whether Istio's routes divide the requests to the one Service between subsets, which are its pods. */}}
{{- define "service.hasSubsets" -}}
{{- if and .Values.mesh.enabled (eq .Values.mesh.api "istio") (not .Values.canary.follows) -}}true{{- end -}}
{{- end -}}

{{/* The Service that leads to the stable pods only. */}}
{{- define "service.stableService" -}}
{{ include "service.name" . }}{{ if include "service.hasSubsets" . }}-stable{{ end }}
{{- end -}}

{{- define "service.canaryService" -}}
{{ include "service.name" . }}-canary
{{- end -}}

{{/*
Whether routes of the Gateway API lead the canary's share to a Service of all pods, of which Istio's proxies
take those of the canary first. Other implementations would divide it among all pods.
*/}}
{{- define "service.hasCanaryFirst" -}}
{{- if and (include "service.hasCanary" .) .Values.mesh.enabled (eq .Values.mesh.api "gateway") (not .Values.canary.follows) -}}
true
{{- end -}}
{{- end -}}

{{- define "service.canaryFirstService" -}}
{{ include "service.name" . }}-canary-first
{{- end -}}
