{{- define "mustreach.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mustreach.selector" -}}
app.kubernetes.io/name: mustreach
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mustreach.labels" -}}
{{ include "mustreach.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "mustreach.pod" -}}
metadata:
  labels:
    {{- include "mustreach.selector" . | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # Else each Service of the namespace named mustreach… would be variables that look like settings.
  enableServiceLinks: false
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    # With Always, each start would open what is in the volume to the group, which the service refuses.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: mustreach
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      ports:
        - { name: api, containerPort: 10002 }
        - { name: operator, containerPort: 10003 }
      env:
        - { name: MUSTREACH_HOST, value: {{ .Values.listenOn | quote }} }
        # For the probes, and for Prometheus; the network policy says who reaches it.
        - { name: MUSTREACH_ADMIN_HOST, value: {{ .Values.listenOn | quote }} }
        - { name: MUSTREACH_WORKERS, value: {{ .Values.workers | quote }} }
        {{- $settings := eq .Values.broker "external" | ternary .Values.clusterSettings dict }}
        {{- range $name, $value := merge (deepCopy .Values.settings) $settings }}
        - { name: MUSTREACH_{{ $name }}, value: {{ $value | quote }} }
        {{- end }}
        {{- if .Values.secret.name }}
        {{- range $name, $key := .Values.secret.keys }}
        {{- if not (and (eq $.Values.broker "embedded") (eq $name "NATS_URL")) }}
        - { name: MUSTREACH_{{ $name }}_FILE, value: /run/secrets/mustreach/{{ $key }} }
        {{- end }}
        {{- end }}
        {{- end }}
      # A broker that is not there yet is waited for, up to 10 min before the next try.
      startupProbe:
        httpGet: { path: /healthz, port: operator }
        periodSeconds: 2
        failureThreshold: 300
      livenessProbe:
        httpGet: { path: /healthz, port: operator }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # It is not ready while the broker is away, and recovers by itself.
      readinessProbe:
        httpGet: { path: /readyz, port: operator }
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 2
      lifecycle:
        # Until nobody sends it new connections any more.
        preStop:
          exec: { command: [sleep, {{ .Values.preStopSeconds | quote }}] }
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- if or .Values.secret.name (eq .Values.broker "embedded") }}
      volumeMounts:
        {{- if .Values.secret.name }}
        - { name: secrets, mountPath: /run/secrets/mustreach, readOnly: true }
        {{- end }}
        {{- if eq .Values.broker "embedded" }}
        - { name: data, mountPath: /data }
        {{- end }}
      {{- end }}
  {{- if .Values.secret.name }}
  volumes:
    - name: secrets
      secret: { secretName: {{ .Values.secret.name }}, defaultMode: 0440 }
  {{- end }}
  affinity:
    podAntiAffinity:
      {{- if eq .Values.antiAffinity "required" }}
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "mustreach.selector" . | nindent 14 }}
      {{- else }}
      preferredDuringSchedulingIgnoredDuringExecution:
        {{- range $weight, $key := dict "100" "kubernetes.io/hostname" "50" "topology.kubernetes.io/zone" }}
        - weight: {{ $weight }}
          podAffinityTerm:
            topologyKey: {{ $key }}
            labelSelector:
              matchLabels:
                {{- include "mustreach.selector" $ | nindent 16 }}
        {{- end }}
      {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
