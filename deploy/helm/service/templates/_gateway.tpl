{{/*
Rules of the Gateway API for the canary and the stable pods, of an HTTPRoute or a GRPCRoute; takes the
context, the port, the matches of the route, those of the mirrored calls, and the Service that answers for the
canary. Of the rules that match, the one that names a method is taken, then the one with more headers.
*/}}
{{- define "service.gatewayRules" -}}
{{- $context := index . 0 -}}
{{- $port := index . 1 -}}
{{- $matches := index . 2 -}}
{{- $mirrored := index . 3 -}}
{{- $canary := dict "name" (index . 4) "port" $port -}}
{{- $backends := include "service.gatewayBackends" (list $context $port (index . 4)) | fromYamlArray -}}
{{- $rules := list -}}
{{- with include "service.canaryMatches" $context | fromJsonArray -}}
{{- $narrowed := list -}}
{{- range . -}}
{{- $headers := include "service.gatewayHeaders" . | fromYamlArray -}}
{{- range concat $mirrored $matches -}}
{{- $narrowed = append $narrowed (merge (dict "headers" $headers) .) -}}
{{- end -}}
{{- end -}}
{{- $rules = append $rules (dict "matches" $narrowed "backendRefs" (list $canary)) -}}
{{- end -}}
{{- with $mirrored -}}
{{- $copied := dict "name" (include "service.canaryService" $context) "port" $port -}}
{{- $copies := dict "backendRef" $copied "percent" $context.Values.canary.mirror.percent -}}
{{- $filter := dict "type" "RequestMirror" "requestMirror" $copies -}}
{{- $rules = append $rules (dict "matches" . "filters" (list $filter) "backendRefs" $backends) -}}
{{- end -}}
{{- $rest := dict "backendRefs" $backends -}}
{{- with without $matches dict }}{{ $_ := set $rest "matches" . }}{{ end -}}
{{- append $rules $rest | toYaml -}}
{{- end -}}

{{/* The Services of the tracks with their shares; takes the context, the port and that of the canary. */}}
{{- define "service.gatewayBackends" -}}
{{- $context := index . 0 -}}
{{- $port := index . 1 -}}
{{- $backends := list -}}
{{- range $track, $share := include "service.shares" $context | fromJson -}}
{{- $service := eq $track "canary" | ternary (index $ 2) (include "service.stableService" $context) -}}
{{- $backends = append $backends (dict "name" $service "port" $port "weight" $share) -}}
{{- end -}}
{{ toYaml $backends }}
{{- end -}}

{{/* The header matches of a group of headers in Istio's words: `{end-user: {exact: jason}}`. */}}
{{- define "service.gatewayHeaders" -}}
{{- $found := list -}}
{{- range $name, $match := . -}}
{{- range $kind, $value := $match -}}
{{- $type := eq $kind "exact" | ternary "Exact" "RegularExpression" -}}
{{- $text := eq $kind "prefix" | ternary (printf "%s.*" (regexQuoteMeta $value)) $value -}}
{{- $found = append $found (dict "name" $name "type" $type "value" $text) -}}
{{- end -}}
{{- end -}}
{{ toYaml $found }}
{{- end -}}

{{/* The mirrored methods as matches of a GRPCRoute. */}}
{{- define "service.gatewayMethods" -}}
{{- $found := list -}}
{{- range include "service.mirroredMethods" . | fromJsonArray -}}
{{- $parts := splitList "/" . -}}
{{- $method := dict "type" "Exact" "service" (index $parts 0) "method" (index $parts 1) -}}
{{- $found = append $found (dict "method" $method) -}}
{{- end -}}
{{ toYaml $found }}
{{- end -}}
