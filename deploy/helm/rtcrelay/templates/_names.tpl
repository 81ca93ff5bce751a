{{- define "rtcrelay.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Labels that pods are chosen by: (list $ "relay"). */}}
{{- define "rtcrelay.selector" -}}
app.kubernetes.io/name: rtcrelay
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "rtcrelay.labels" -}}
{{ include "rtcrelay.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{- define "rtcrelay.redis" -}}
{{- if .Values.redis.url }}{{ .Values.redis.url }}
{{- else if .Values.valkey.enabled }}{{ printf "redis://%s-valkey" (include "rtcrelay.name" .) }}{{ end }}
{{- end }}

{{- /* One setting in TOML; whole numbers of values are floats, and large ones have an exponent. */}}
{{- define "rtcrelay.toml" -}}
{{- if kindIs "slice" . }}[{{ range $i, $each := . }}{{ if $i }}, {{ end }}{{ include "rtcrelay.toml" $each }}{{ end }}]
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "float64" . }}{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else }}{{ . | toString | quote }}{{ end }}
{{- end }}

{{- define "rtcrelay.table" -}}
{{- range $key, $value := . }}
{{ $key }} = {{ include "rtcrelay.toml" $value | replace "\n" "" }}
{{- end }}
{{- end }}

{{- /* What all pods have in common: (list $ "relay" $.Values.relay). */}}
{{- define "rtcrelay.pod" -}}
{{- $ := index . 0 }}{{ $values := index . 2 -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "rtcrelay.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "rtcrelay.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{- /* What all containers have in common: (list $ "relay" $.Values.relay). */}}
{{- define "rtcrelay.container" -}}
{{- $ := index . 0 }}{{ $values := index . 2 -}}
image: "{{ $.Values.image.repository }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}"
imagePullPolicy: {{ $.Values.image.pullPolicy }}
env:
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: RUNTIME_DIRECTORY
    value: /run/rtcrelay
# None of them asks Redis or anything else outside the process.
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml $values.resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/rtcrelay, readOnly: true}
  - {name: keys, mountPath: /run/secrets/rtcrelay/keys, readOnly: true}
  - {name: run, mountPath: /run/rtcrelay}
  {{- if ne (index . 1) "relay" }}
  - {name: token, mountPath: /run/secrets/rtcrelay/token, readOnly: true}
  {{- end }}
  {{- if $.Values.redis.passwordSecret }}
  - {name: redis, mountPath: /run/secrets/rtcrelay/redis, readOnly: true}
  {{- end }}
{{- end }}

{{- /* Secrets are 0440 and the group's: rtcrelay refuses what others may read. Kubernetes renews them in place. */}}
{{- define "rtcrelay.volumes" -}}
{{- $ := index . 0 -}}
- name: config
  configMap: {name: {{ include "rtcrelay.name" $ }}}
- name: keys
  secret: {secretName: {{ $.Values.keys.existingSecret }}, defaultMode: 0440}
- name: run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- if ne (index . 1) "relay" }}
- name: token
  secret: {secretName: {{ $.Values.token.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- if $.Values.redis.passwordSecret }}
- name: redis
  secret: {secretName: {{ $.Values.redis.passwordSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}
