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
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with .Values.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .Values.preemptionPolicy }}
preemptionPolicy: {{ . }}
{{- end }}
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
{{- with .Values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: trainer
    image: {{ include "kfit.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    {{- with .Values.command }}
    command: {{ toJson . }}
    {{- end }}
    args: {{ toJson .Values.args }}
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
    {{- with .Values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.lifecycle }}
    lifecycle:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.livenessProbe }}
    {{- if .enabled }}
    # The file is there while steps are expected, with the time of the last one.
    livenessProbe:
      exec:
        command:
          - sh
          - -c
          - test ! -e /tmp/kfit-heartbeat || test $(($(date +%s) - $(stat -c %Y /tmp/kfit-heartbeat))) -le {{ int .maxStepAgeSeconds }}
      periodSeconds: {{ int .periodSeconds }}
      timeoutSeconds: 10
      failureThreshold: 2
    {{- end }}
    {{- end }}
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
    downwardAPI:
      # apiVersion is the default; without it every `kubectl apply` of the same file would change the Job.
      items: [{path: job.yaml, fieldRef: {apiVersion: v1, fieldPath: "metadata.annotations['kfit.dev/job-file']"}}]
  - name: tmp
    emptyDir: {{ include "kfit.temporaryFolder" .Values.resources.tmp }}
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
{{- if int .Values.minNodes }}
- {name: KFIT_MIN_NODES, value: {{ int .Values.minNodes | quote }}}
{{- end }}
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
{{- if int .Values.resources.gpus }}
{{- /* a pod that holds GPUs does not train on its CPUs for want of a driver, or of CUDA in its image */}}
- {name: KFIT_DEVICES, value: gpu}
{{- end }}
- {name: KFIT_CACHE, value: /tmp/kfit-cache}
{{- if .Values.livenessProbe.enabled }}
- {name: KFIT_HEARTBEAT, value: /tmp/kfit-heartbeat}
{{- end }}
- {name: HOME, value: /tmp}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kfit.temporaryFolder" -}}
{{- $folder := dict -}}
{{- with .medium }}{{ $_ := set $folder "medium" . }}{{ end -}}
{{- with .size }}{{ $_ := set $folder "sizeLimit" (toString .) }}{{ end -}}
{{- toJson $folder -}}
{{- end }}

{{/* Requests equal limits, unless the values say otherwise: Guaranteed, the last class a node evicts. */}}
{{- define "kfit.resources" -}}
{{- $amounts := dict "cpu" (toString .cpu) "memory" (toString .memory) -}}
{{- /* int: to helm 3 a 0 out of values.yaml is a json.Number, which is true */ -}}
{{- if int .gpus }}{{ $_ := set $amounts .gpuResource (int .gpus | toString) }}{{ end -}}
{{- with .ephemeralStorage }}{{ $_ := set $amounts "ephemeral-storage" (toString .) }}{{ end -}}
{{- range $name, $amount := .extra }}{{ $_ := set $amounts $name (toString $amount) }}{{ end -}}
{{- $requests := deepCopy $amounts -}}
{{- range $name, $amount := .requests }}{{ $_ := set $requests $name (toString $amount) }}{{ end -}}
requests:
  {{- toYaml $requests | nindent 2 }}
limits:
  {{- toYaml $amounts | nindent 2 }}
{{- with .claims }}
claims:
  {{- range . }}
  - name: {{ .name }}
  {{- end }}
{{- end }}
{{- end }}
