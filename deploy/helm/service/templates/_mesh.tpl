{{/* Labels of every pod. In a mesh they request a sidecar, so that pods without one are replaced. */}}
{{- define "service.podLabels" -}}
{{- include "service.labels" . }}
{{- if and .Values.mesh.enabled (not (hasKey .Values.podLabels "sidecar.istio.io/inject")) }}
sidecar.istio.io/inject: "true"
{{- end }}
{{- end -}}

{{/* The principal of a ServiceAccount in the mesh; takes the context, namespace and name. */}}
{{- define "service.meshPrincipal" -}}
{{- $context := index . 0 -}}
{{ $context.Values.mesh.trustDomain }}/ns/{{ index . 1 }}/sa/{{ index . 2 }}
{{- end -}}

{{/* Port numbers as strings, for AuthorizationPolicies. */}}
{{- define "service.meshPorts" -}}
{{- $ports := list -}}
{{- range . }}{{ $ports = append $ports (. | int | toString) }}{{ end -}}
{{ $ports | toJson }}
{{- end -}}

{{/* The rule that admits a caller to gRPC services; takes the context, the caller and full names. */}}
{{- define "service.meshGrpcRule" -}}
{{- $context := index . 0 -}}
- from:
    - source:
        principals:
          - {{ include "service.meshPrincipal" (list $context $context.Release.Namespace (index . 1)) }}
  to:
    - operation:
        ports: {{ include "service.meshPorts" (list $context.Values.facts.grpc.port) }}
        methods: [POST]
        paths:
          {{- range index . 2 }}
          - /{{ . }}/*
          {{- end }}
{{- end -}}

{{/* The rule that admits callers to all of HTTP; takes the context and the callers. */}}
{{- define "service.meshHttpRule" -}}
{{- $context := index . 0 -}}
- from:
    - source:
        principals:
          {{- range index . 1 }}
          - {{ include "service.meshPrincipal" (list $context $context.Release.Namespace .) }}
          {{- end }}
  to:
    - operation:
        ports: {{ include "service.meshPorts" (list $context.Values.facts.http.port) }}
{{- end -}}

{{/*
Istio's routes of one port; takes the routes, the port and the default fields of a route. The port is
added to each match and destination, so that the routes apply to that port only.
*/}}
{{- define "service.meshRoutes" -}}
{{- $port := index . 1 | int -}}
{{- $routes := list -}}
{{- range $route := index . 0 -}}
{{- $matches := list -}}
{{- range $route.match | default (list dict) -}}
{{- $matches = append $matches (merge (dict "port" $port) .) -}}
{{- end -}}
{{- $targets := list -}}
{{- range $route.route -}}
{{- $destination := merge (dict "port" (dict "number" $port)) .destination -}}
{{- $targets = append $targets (merge (dict "destination" $destination) .) -}}
{{- end -}}
{{- $given := dict "match" $matches "route" $targets -}}
{{- with $route.mirror -}}
{{- $_ := set $given "mirror" (merge (dict "port" (dict "number" $port)) .) -}}
{{- end -}}
{{- $routes = append $routes (merge $given $route (index $ 2)) -}}
{{- end -}}
{{ toYaml $routes }}
{{- end -}}

{{/* The order of all pods: those of the canary come first, and the others answer while none of it can. */}}
{{- define "service.canaryFirst" -}}
loadBalancer:
  localityLbSetting:
    enabled: true
    failoverPriority: [track=canary]
{{- end -}}
