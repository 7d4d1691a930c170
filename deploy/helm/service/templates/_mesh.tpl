{{/* Labels of every pod. In a mesh it asks for its sidecar: pods from before the mesh are replaced. */}}
{{- define "service.podLabels" -}}
{{- include "service.labels" . }}
{{- if and .Values.mesh.enabled (not (hasKey .Values.podLabels "sidecar.istio.io/inject")) }}
sidecar.istio.io/inject: "true"
{{- end }}
{{- end -}}

{{/* What a ServiceAccount is called in the mesh; takes the context, namespace and name. */}}
{{- define "service.meshPrincipal" -}}
{{- $context := index . 0 -}}
{{ $context.Values.mesh.trustDomain }}/ns/{{ index . 1 }}/sa/{{ index . 2 }}
{{- end -}}

{{/* Port numbers as AuthorizationPolicies have them. */}}
{{- define "service.meshPorts" -}}
{{- $ports := list -}}
{{- range . }}{{ $ports = append $ports (. | int | toString) }}{{ end -}}
{{ $ports | toJson }}
{{- end -}}

{{/* Admits a caller to gRPC services; takes the context, the caller and their full names. */}}
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

{{/* Admits callers to everything HTTP; takes the context and the callers. */}}
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
Routes of one port, in Istio's words; takes the routes, the port and what holds unless a route says
otherwise. They are for that port alone: each of their matches and destinations is given it.
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
