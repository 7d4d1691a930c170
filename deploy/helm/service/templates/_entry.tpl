{{/*
The paths by which the service can be reached from outside, as a JSON array; empty if it cannot. They
are the prefixes of the routes in its code that are below a path of `entry.paths`, and the paths of
`entry.paths` that are below one of these prefixes. `/` stands for the page at the root only.
*/}}
{{- define "service.entryPaths" -}}
{{- $name := include "service.name" . -}}
{{- $declared := .Values.facts.http.paths -}}
{{- $found := list -}}
{{- if ne .Values.entry.kind "none" -}}
{{- range $each := .Values.entry.paths -}}
{{- $given := trimSuffix "/" $each -}}
{{- $agreed := list -}}
{{- range $declared -}}
{{- if or (eq . $given) (hasPrefix (printf "%s/" $given) .) -}}
{{- $agreed = append $agreed . -}}
{{- else if hasPrefix (printf "%s/" (trimSuffix "/*" .)) (printf "%s/" $given) -}}
{{- $agreed = append $agreed $given -}}
{{- end -}}
{{- end -}}
{{- if not $agreed -}}
{{- fail (printf "entry.paths: %s is not a path of %s: its code declares %s" $each $name ($declared | join ", " | default "none")) -}}
{{- end -}}
{{- range list "/*" "/livez" "/readyz" "/startupz" "/metrics" -}}
{{- if has . $agreed -}}
{{- fail (printf "entry.paths: %s would lead to /metrics and the probes: %s has a route that begins with a parameter; name the paths below which the API is reached" $each $name) -}}
{{- end -}}
{{- end -}}
{{- $found = concat $found $agreed -}}
{{- end -}}
{{- with $found | uniq | sortAlpha -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The NetworkPolicyPeers of the entry. */}}
{{- define "service.entryPeers" -}}
{{- if .Values.networkPolicy.entry -}}
{{ toYaml .Values.networkPolicy.entry }}
{{- else if eq .Values.entry.kind "gateway" -}}
- namespaceSelector: {}
  podSelector:
    matchExpressions:
      - key: gateway.networking.k8s.io/gateway-name
        operator: Exists
{{- else -}}
{{- fail "networkPolicy.entry is missing: with entry.kind=ingress it names the pods of the Ingress's controller, which alone are admitted" -}}
{{- end -}}
{{- end -}}

{{/* The entry's principals in the mesh, by its ServiceAccounts. */}}
{{- define "service.entryPrincipals" -}}
{{- $accounts := .Values.entry.serviceAccounts -}}
{{- if and (not $accounts) (eq .Values.entry.kind "ingress") -}}
{{- fail "entry.serviceAccounts is missing: in a mesh with entry.kind=ingress it names the ServiceAccount of the Ingress's controller, as namespace/name" -}}
{{- end -}}
{{- if not $accounts -}}
{{- range .Values.entry.gateways -}}
{{- $accounts = append $accounts (printf "%s/%s-istio" (.namespace | default $.Release.Namespace) .name) -}}
{{- end -}}
{{- end -}}
{{- range $account := $accounts }}
{{- $parts := splitList "/" $account }}
- {{ include "service.meshPrincipal" (list $ (index $parts 0) (index $parts 1)) }}
{{- end -}}
{{- end -}}
