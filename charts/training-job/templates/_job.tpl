{{/* The spec of a Job, for the Job and the CronJob alike. */}}
{{- define "kfit.jobSpec" -}}
{{- $several := gt (int .Values.nodes) 1 -}}
parallelism: {{ int .Values.nodes }}
completions: {{ int .Values.nodes }}
completionMode: {{ ternary "Indexed" "NonIndexed" $several }}
{{- if and $several (include "kfit.atLeast" (list . "1.34")) }}
podReplacementPolicy: Failed
{{- end }}
{{- if .Values.suspend }}
suspend: true
{{- end }}
{{- with .Values.managedBy }}
managedBy: {{ . }}
{{- end }}
backoffLimit: {{ int .Values.backoffLimit }}
activeDeadlineSeconds: {{ int .Values.activeDeadlineSeconds }}
{{- if and (not (include "kfit.scheduled" .)) (not (kindIs "invalid" .Values.ttlSecondsAfterFinished)) }}
ttlSecondsAfterFinished: {{ int .Values.ttlSecondsAfterFinished }}
{{- end }}
podFailurePolicy:
  rules:
    # The first rule that matches decides. Codes: docs/exit-codes.md
    - action: FailJob
      onExitCodes: {containerName: trainer, operator: In, values: [64, 65]}
    - action: Ignore
      onExitCodes: {containerName: trainer, operator: In, values: [75, 76]}
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    {{- with .Values.podFailurePolicyRules }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
template:
  metadata:
    labels:
      {{- include "kfit.podLabels" . | nindent 6 }}
    annotations:
      {{- include "kfit.podAnnotations" . | nindent 6 }}
  spec:
    {{- include "kfit.podSpec" . | nindent 4 }}
{{- end }}
