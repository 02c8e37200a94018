{{/* The pod: restricted by default, and what the values say. */}}
{{- define "kfit.podSpec" -}}
restartPolicy: Never
terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
serviceAccountName: {{ include "kfit.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- if gt (int .Values.nodes) 1 }}
subdomain: {{ include "kfit.serviceName" . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    {{- if not (hasKey . "labelSelector") }}
    labelSelector:
      matchLabels: {{- include "kfit.selector" $ | nindent 8 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with .Values.resources.claims }}
resourceClaims:
  {{- range . }}
  - name: {{ .name }}
    {{- if .resourceClaimName }}
    resourceClaimName: {{ .resourceClaimName }}
    {{- else }}
    resourceClaimTemplateName: {{ .resourceClaimTemplateName | default (printf "%s-%s" (include "kfit.hashedName" $) .name) }}
    {{- end }}
  {{- end }}
{{- end }}
containers:
  - name: trainer
    image: {{ include "kfit.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [fit, /etc/kfit/job.yaml]
    {{- if gt (int .Values.nodes) 1 }}
    ports:
      - {name: grpc, containerPort: 2222}
      - {name: meeting, containerPort: 2223}
    {{- end }}
    env:
      {{- include "kfit.env" . | nindent 6 }}
    {{- with .Values.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      {{- include "kfit.resources" .Values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      - {name: config, mountPath: /etc/kfit, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      - {name: shm, mountPath: /dev/shm}
      {{- with .Values.volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "kfit.hashedName" . }}}
  - name: tmp
    emptyDir: {}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ .Values.resources.shm }}}
  {{- with .Values.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What the trainer knows of where it runs. */}}
{{- define "kfit.env" -}}
- name: KFIT_JOB
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
- name: KFIT_RUN
  {{- if .Values.runId }}
  value: {{ .Values.runId | quote }}
  {{- else }}
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
  {{- end }}
- {name: KFIT_EVENTS, value: "1"}
- {name: KFIT_GRACE_S, value: {{ int .Values.terminationGracePeriodSeconds | quote }}}
- {name: KFIT_NODES, value: {{ int .Values.nodes | quote }}}
{{- if gt (int .Values.nodes) 1 }}
- {name: KFIT_SERVICE, value: {{ include "kfit.serviceName" . }}}
{{- /* by which the workers of one Job recognise each other; nobody outside the namespace's API knows it */}}
- name: KFIT_JOB_UID
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']"}}
{{- end }}
{{- if include "kfit.scheduled" . }}
- {name: KFIT_SCHEDULE, value: {{ include "kfit.name" . }}}
- {name: KFIT_TIME_ZONE, value: {{ .Values.schedule.timeZone | quote }}}
{{- end }}
{{- if or (include "kfit.scheduled" .) (hasKey .Values.podAnnotations "kfit.dev/date") }}
- name: KFIT_DATE
  valueFrom: {fieldRef: {fieldPath: "metadata.annotations['kfit.dev/date']"}}
{{- end }}
- {name: KFIT_CACHE, value: /tmp/kfit-cache}
- {name: HOME, value: /tmp}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Requests equal limits: Guaranteed, the last class a node evicts. */}}
{{- define "kfit.resources" -}}
{{- $amounts := dict "cpu" (toString .cpu) "memory" (toString .memory) -}}
{{- /* int: to helm 3 a 0 out of values.yaml is a json.Number, which is true */ -}}
{{- if int .gpus }}{{ $_ := set $amounts .gpuResource (int .gpus | toString) }}{{ end -}}
requests:
  {{- toYaml $amounts | nindent 2 }}
limits:
  {{- toYaml $amounts | nindent 2 }}
{{- with .claims }}
claims:
  {{- range . }}
  - name: {{ .name }}
  {{- end }}
{{- end }}
{{- end }}
