{{/*
The shares of the tracks as a JSON object, `{"stable": 90, "canary": 10}`. A track without a share is
left out, because its Service or subset may be missing or empty.
*/}}
{{- define "service.shares" -}}
{{- $weight := .Values.canary.weight | int -}}
{{- $shares := dict -}}
{{- range $track, $share := dict "stable" (sub 100 $weight) "canary" $weight -}}
{{- if $share }}{{ $_ := set $shares $track $share }}{{ end -}}
{{- end -}}
{{ toJson $shares }}
{{- end -}}

{{/* The begin of the keys of the weights if a tool makes the versions; a label's value is their end. */}}
{{- define "service.followedKey" -}}
weight-of-
{{- end -}}

{{/* The label that tells the pods of the versions apart that a tool makes. */}}
{{- define "service.followedLabel" -}}
{{ eq .Values.canary.follows "flagger" | ternary "slipway/version-of" "rollouts-pod-template-hash" }}
{{- end -}}

{{/* Whether the requests inside the cluster are divided by routes: those of Istio, or of the Gateway API. */}}
{{- define "service.isRouted" -}}
{{- if or .Values.mesh.enabled (eq .Values.mesh.api "gateway") -}}true{{- end -}}
{{- end -}}

{{/* The part of the notes about the canary; takes its context. */}}
{{- define "service.canaryNotes" -}}
{{- $name := include "service.name" . -}}
{{- $entry := and (include "service.entryPaths" .) .Values.entry.kind }}

The canary of {{ $name }} is {{ include "service.version" . }}, in deployment/{{ include "service.deployment" . }}, with the weight {{ .Values.canary.weight }} %:
  {{ if .Values.facts.lanes }}events: {{ .Values.canary.weight }} % of the lanes, as soon as the kubelet has refreshed the pods' file, within a minute
{{- else }}events: none, because the service reads no lanes{{ end }}
  {{ if include "service.isRouted" . }}requests inside the cluster: {{ .Values.canary.weight }} %
{{- else }}requests inside the cluster: none, because only routes divide them (mesh.enabled=true or mesh.api=gateway){{ end }}
{{- if eq $entry "gateway" }}
  requests from outside: {{ .Values.canary.weight }} %
{{- else if eq $entry "ingress" }}
  requests from outside: none, because an Ingress has no weights (entry.kind=gateway has)
{{- end }}

  slipway canary status {{ $name }} --namespace {{ .Release.Namespace }}
  slipway canary promote {{ $name }} --namespace {{ .Release.Namespace }}
  slipway canary abort {{ $name }} --namespace {{ .Release.Namespace }}
{{- if .Values.facts.lanes }}

An event of a type that only one of the two versions handles waits at its position while the other
version has its lane. `slipway canary start` names these types before it starts a canary.
{{- end }}
{{- end -}}

{{/*
The groups of headers that lead to the canary, as a JSON array. Without a weight none does, unless a value
says so, because nothing else says that the canary's pods are ready.
*/}}
{{- define "service.canaryMatches" -}}
{{- $canary := .Values.canary -}}
{{- $leads := and (include "service.hasCanary" .) (or $canary.weight $canary.matchAtZero) -}}
{{- ternary $canary.match list (not (empty $leads)) | toJson -}}
{{- end -}}

{{/*
The methods of which the canary gets copies, as a JSON array. A canary that answers every call needs no
copy.
*/}}
{{- define "service.mirroredMethods" -}}
{{- $canary := .Values.canary -}}
{{- $mirrored := list -}}
{{- if and (include "service.hasCanary" .) $canary.mirror.percent (lt ($canary.weight | int) 100) -}}
{{- $mirrored = $canary.mirror.methods -}}
{{- end -}}
{{ toJson $mirrored }}
{{- end -}}

{{/*
Istio's routes for the canary and the stable pods, for "service.meshRoutes"; takes the context and the
mirrored methods. The first route that matches is taken.
*/}}
{{- define "service.istioRoutes" -}}
{{- $context := index . 0 -}}
{{- $host := include "service.name" $context -}}
{{- $canary := dict "host" $host "subset" "canary" -}}
{{- $targets := list -}}
{{- range $track, $share := include "service.shares" $context | fromJson -}}
{{- $targets = append $targets (dict "destination" (dict "host" $host "subset" $track) "weight" $share) -}}
{{- end -}}
{{- $routes := list -}}
{{- with include "service.canaryMatches" $context | fromJsonArray -}}
{{- $matches := list -}}
{{- range . }}{{ $matches = append $matches (dict "headers" .) }}{{ end -}}
{{- $routes = append $routes (dict "match" $matches "route" (list (dict "destination" $canary))) -}}
{{- end -}}
{{- with index . 1 -}}
{{- $matches := list -}}
{{- range . }}{{ $matches = append $matches (dict "uri" (dict "exact" (printf "/%s" .))) }}{{ end -}}
{{- $percentage := dict "value" $context.Values.canary.mirror.percent -}}
{{- $routes = append $routes (dict "match" $matches "route" $targets "mirror" $canary "mirrorPercentage" $percentage) -}}
{{- end -}}
{{- append $routes (dict "route" $targets) | toYaml -}}
{{- end -}}
