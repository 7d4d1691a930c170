{{/* Fields of every pod for restricted Pod Security. */}}
{{- define "service.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Common fields of every container of the image. */}}
{{- define "service.container" -}}
image: {{ include "service.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "service.containerSecurity" . | nindent 2 }}
env: {{- include "service.env" . | trim | nindent 2 }}
{{- end -}}

{{- define "service.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .Values.readOnlyRootFilesystem }}
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Variables by name, so that each is set once; values override the chart's variables. */}}
{{- define "service.env" -}}
{{- $values := .Values -}}
{{- $env := dict
      "APP_ENVIRONMENT" .Values.environment
      "APP_VERSION" (include "service.version" .)
      "APP_HTTP_HOST" "0.0.0.0"
      "APP_SECRETS_DIR" "/etc/slipway/settings"
      "APP_SHUTDOWN_DELAY_SECONDS" .Values.drain.delaySeconds
      "APP_SHUTDOWN_GRACE_SECONDS" (add .Values.drain.delaySeconds .Values.drain.graceSeconds) -}}
{{- if .Values.facts.grpc -}}
{{- $_ := set $env "APP_GRPC_HOST" "0.0.0.0" -}}
{{- end -}}
{{- if .Values.facts.calls -}}
{{- $targets := dict -}}
{{- $isRouted := include "service.isRouted" . -}}
{{- range $callee, $call := .Values.facts.calls -}}
{{- $host := empty $isRouted | ternary (printf "%s-headless" $callee) $callee -}}
{{- $_ := set $targets $callee (printf "dns:///%s:%d" $host (int $call.port)) -}}
{{- end -}}
{{- $_ := set $env "APP_TARGETS" (toJson $targets) -}}
{{- end -}}
{{- if include "service.hasEvents" . -}}
{{- $_ := set $env "APP_NATS_URL" .Values.nats.url -}}
{{- with .Values.nats.existingSecret -}}
{{- $_ := set $env "APP_NATS_NKEY_SEED_FILE" "/etc/slipway/nats/nkey.seed" -}}
{{- end -}}
{{- $_ := set $env "APP_STREAMS" (eq .Values.nats.streams "ensure" | ternary "ensure" "verify") -}}
{{- if include "service.hasWeight" . -}}
{{- $key := empty .Values.canary.follows | ternary "weight" (printf "%s$(CANARY_LABEL)" (include "service.followedKey" .)) -}}
{{- $_ := set $env "APP_EVENT_WEIGHT_FILE" (printf "/etc/slipway/canary/%s" $key) -}}
{{- end -}}
{{- with .Values.nats.tlsSecret -}}
{{- $_ := set $env "APP_NATS_TLS_CA_FILE" "/etc/slipway/nats-tls/ca.crt" -}}
{{- if $values.nats.tlsClient -}}
{{- $_ := set $env "APP_NATS_TLS_CERTIFICATE_FILE" "/etc/slipway/nats-tls/tls.crt" -}}
{{- $_ := set $env "APP_NATS_TLS_KEY_FILE" "/etc/slipway/nats-tls/tls.key" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.metrics.port -}}
{{- $_ := set $env "APP_METRICS_PORT" . -}}
{{- end -}}
{{- with .Values.otlpEndpoint -}}
{{- $_ := set $env "APP_OTLP_ENDPOINT" . -}}
{{- end -}}
{{- if and .Values.canary.follows (include "service.hasWeight" .) }}
# The variable with the weight's file refers to it.
- name: CANARY_LABEL
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['{{ include "service.followedLabel" . }}']
{{- end }}
{{- range $name, $value := mustMergeOverwrite $env .Values.settings -}}
{{ "\n" }}- name: {{ $name }}
  value: {{ kindIs "map" $value | or (kindIs "slice" $value) | ternary (toJson $value) (toString $value) | quote }}
{{- end }}
{{- end -}}

{{/* Mounts of every container; takes the context and the volume with its settings. */}}
{{- define "service.mounts" -}}
{{- $settings := index . 1 -}}
{{- with index . 0 -}}
- name: tmp
  mountPath: /tmp
- name: {{ $settings }}
  mountPath: /etc/slipway/settings
  readOnly: true
{{- if include "service.hasEvents" . }}
{{- if .Values.nats.existingSecret }}
- name: nats
  mountPath: /etc/slipway/nats
  readOnly: true
{{- end }}
{{- if .Values.nats.tlsSecret }}
- name: nats-tls
  mountPath: /etc/slipway/nats-tls
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A volume of settings, a file for each; takes the context, its name and the database's Secret. */}}
{{- define "service.settingsVolume" -}}
{{- $volume := index . 1 -}}
{{- $databaseSecret := index . 2 -}}
{{- with index . 0 -}}
- name: {{ $volume }}
  projected:
    defaultMode: 0440
    sources: {{- if not (or .Values.facts.database .Values.settingSecrets) }} []{{ end }}
      {{- if .Values.facts.database }}
      - secret:
          name: {{ $databaseSecret }}
          items:
            - key: APP_DATABASE_URL
              path: APP_DATABASE_URL
      {{- end }}
      {{- range .Values.settingSecrets }}
      - secret:
          name: {{ . }}
      {{- end }}
{{- end -}}
{{- end -}}

{{/*
The volumes of those mounts; takes the context and the Secrets with the database's URL and the nkey.
*/}}
{{- define "service.volumes" -}}
{{- $context := index . 0 -}}
{{- $databaseSecret := index . 1 -}}
{{- $natsSecret := index . 2 -}}
{{- with $context -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{ include "service.settingsVolume" (list . "settings" $databaseSecret) }}
{{- if include "service.hasEvents" . }}
{{- with $natsSecret }}
- name: nats
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.nats.tlsSecret }}
- name: nats-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
