{{/* Refuse values that contradict each other; each error says what to set. */}}
{{- define "service.check" -}}
{{- $drain := .Values.drain -}}
{{- if not (dig "facts" "name" "" .Values) -}}
{{- fail "facts.name is missing: give the service's facts with -f services/<name>/deploy/facts.yaml" -}}
{{- end -}}
{{- if and .Values.mesh.enabled .Values.monitoring.serviceMonitor.enabled (not .Values.metrics.port) -}}
{{- fail "metrics.port is missing: in a mesh Prometheus has no certificate and is admitted to a separate port only, for example 9100" -}}
{{- end -}}
{{- if gt ($drain.delaySeconds | int) ($drain.graceSeconds | int) -}}
{{- fail "drain.delaySeconds is above drain.graceSeconds: the service would cut its delay short" -}}
{{- end -}}
{{- include "service.checkScaling" . -}}
{{- include "service.checkCanary" . -}}
{{- end -}}

{{- define "service.checkScaling" -}}
{{- $lanes := dig "lanes" 0 .Values.facts | int -}}
{{- range .Tracks -}}
{{- $scaling := .Values.autoscaling -}}
{{- $value := eq .Track "canary" | ternary "canary.autoscaling.maxReplicas" "autoscaling.maxReplicas" -}}
{{- if and (ne $scaling.kind "none") $lanes (gt ($scaling.maxReplicas | int) $lanes) -}}
{{- fail (printf "%s (%d) is above the number of lanes (%d): more replicas would read no events; set %d or less" $value (int $scaling.maxReplicas) $lanes $lanes) -}}
{{- end -}}
{{- if and (ne $scaling.kind "none") (gt ($scaling.minReplicas | int) ($scaling.maxReplicas | int)) -}}
{{- fail (printf "%s (%d) is below minReplicas (%d): set a higher maximum or a lower minimum" $value (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "service.checkCanary" -}}
{{- $canary := .Values.canary -}}
{{- $exists := include "service.hasCanary" . -}}
{{- if and $canary.weight (not $exists) -}}
{{- fail (printf "canary.weight is %d but there is no canary: set canary.image.tag to its version, or canary.weight=0" (int $canary.weight)) -}}
{{- end -}}
{{- if and $exists $canary.follows -}}
{{- fail (printf "canary.follows is %s, which makes the second version itself: leave canary.image empty, or canary.follows" $canary.follows) -}}
{{- end -}}
{{- if and $exists .Values.image.reference (not $canary.image.reference) -}}
{{- fail "canary.image.reference is missing: image.reference is the full reference of the stable image, so name the canary's in the same way" -}}
{{- end -}}
{{- $mesh := .Values.mesh -}}
{{- $own := or $mesh.routes.grpc $mesh.routes.http $mesh.subsets -}}
{{- range $mesh.subsets -}}
{{- if has .name (list "stable" "canary") -}}
{{- fail (printf "mesh.subsets: %s is a subset of the chart's own: give yours another name" .name) -}}
{{- end -}}
{{- end -}}
{{- if and $own $exists -}}
{{- fail "mesh.routes and mesh.subsets are routes of your own, which the canary would contradict: remove them, or leave canary.image empty" -}}
{{- end -}}
{{- if and $own (eq $mesh.api "gateway") -}}
{{- fail "mesh.routes and mesh.subsets are in Istio's words: set mesh.api=istio, or remove them" -}}
{{- end -}}
{{- $routed := include "service.isRouted" . -}}
{{- $entered := and (eq .Values.entry.kind "gateway") (include "service.entryPaths" .) -}}
{{- if and $exists $canary.match (not (or $routed $entered)) -}}
{{- fail "canary.match needs routes: set mesh.enabled=true, or mesh.api=gateway, or leave canary.match empty" -}}
{{- end -}}
{{- if and $exists $canary.mirror.percent (not $routed) -}}
{{- fail "canary.mirror needs routes: set mesh.enabled=true, or mesh.api=gateway, or canary.mirror.percent=0" -}}
{{- end -}}
{{- include "service.checkMirror" . -}}
{{- end -}}

{{/* Refuse to copy calls that may change something, because the canary executes a copy, too. */}}
{{- define "service.checkMirror" -}}
{{- $mirror := .Values.canary.mirror -}}
{{- $reads := dig "grpc" "reads" list .Values.facts -}}
{{- $allowed := printf "%s has %s" .Values.facts.name ($reads | join ", " | default "none") -}}
{{- if and $mirror.percent (not $mirror.methods) -}}
{{- fail (printf "canary.mirror.methods is empty, but canary.mirror.percent is %d: name methods that only read (%s), or set canary.mirror.percent=0" (int $mirror.percent) $allowed) -}}
{{- end -}}
{{- range $mirror.methods -}}
{{- if not (has . $reads) -}}
{{- fail (printf "canary.mirror.methods: %s is not a method that the contract marks with idempotency_level = NO_SIDE_EFFECTS, and a copy is executed, too; %s" . $allowed) -}}
{{- end -}}
{{- end -}}
{{- end -}}
