{{/* Egress of every pod: DNS, the collector of traces, and in a mesh the control plane. */}}
{{- define "service.commonEgress" -}}
- to: {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- if .Values.mesh.enabled }}
# istiod sends configuration and certificates.
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: istio-system
  ports:
    - port: 15012
    - port: 15010
{{- end }}
{{- with .Values.otlpEndpoint }}
# The collector of traces.
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $.Values.networkPolicy.monitoringNamespace }}
  ports:
    - port: {{ regexFind ":[0-9]+" (urlParse .).host | trimPrefix ":" | default "4317" }}
{{- end }}
{{- end -}}

{{- define "service.brokerEgress" -}}
# The broker.
- to: {{- .Values.nats.peers | default (include "service.podsOf" "nats" | fromYamlArray) | toYaml | nindent 4 }}
  ports:
    - port: {{ .Values.nats.port }}
{{- end -}}

{{- define "service.databaseEgress" -}}
# The database.
- to: {{- .Values.database.peers | default (include "service.podsOf" "postgresql" | fromYamlArray) | toYaml | nindent 4 }}
  ports:
    - port: {{ .Values.database.port }}
{{- end -}}

{{/* NetworkPolicyPeers for the pods of this namespace with a value of the label `app`. */}}
{{- define "service.podsOf" -}}
- podSelector:
    matchLabels:
      app: {{ . }}
{{- end -}}
