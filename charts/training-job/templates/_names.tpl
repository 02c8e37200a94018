{{/* What things are called. */}}

{{- define "kfit.name" -}}
{{- /* The release's name stands in under `helm lint` alone, which goes on after a `fail`. */ -}}
{{- .Values.fullnameOverride | default .Values.name | default .Release.Name -}}
{{- end }}

{{/* Text of the values for a person's terminal, which obeys control characters: those are shown as `?`. */}}
{{- define "kfit.visible" -}}
{{- regexReplaceAll "[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]" (toString .) "?" -}}
{{- end }}

{{- define "kfit.scheduled" -}}
{{- if .Values.schedule.cron }}true{{ end -}}
{{- end }}

{{/*
Hash of all that shapes a pod. What stands beside a pod does not: it changes in place.
A run that a schedule starts is not the run of the same values by hand, so the hash tells them apart.
*/}}
{{- define "kfit.hash" -}}
{{- $shape := omit .Values "schedule" "networkPolicy" "alerts" "dashboard" "podDisruptionBudget" "extraObjects" "enabled" "global" -}}
{{- dict "values" $shape "chart" .Chart.Version "scheduled" (include "kfit.scheduled" .) | toJson | sha256sum -}}
{{- end }}

{{- define "kfit.hashedName" -}}
{{- printf "%s-%s" (include "kfit.name" .) (include "kfit.hash" . | trunc 8) -}}
{{- end }}

{{/* The Job or the CronJob, and its NetworkPolicy. */}}
{{- define "kfit.workloadName" -}}
{{- if include "kfit.scheduled" . }}{{ include "kfit.name" . }}{{ else }}{{ include "kfit.hashedName" . }}{{ end -}}
{{- end }}

{{/* Not the CronJob's own name: a Service that serves the model is often called so. */}}
{{- define "kfit.serviceName" -}}
{{- if include "kfit.scheduled" . }}{{ include "kfit.name" . }}-workers{{ else }}{{ include "kfit.hashedName" . }}{{ end -}}
{{- end }}

{{- define "kfit.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "kfit.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* The one label that selects the pods of this workload and no others. */}}
{{- define "kfit.selector" -}}
{{- if include "kfit.scheduled" . -}}
kfit.dev/cronjob: {{ include "kfit.name" . }}
{{- else -}}
kfit.dev/job: {{ include "kfit.hashedName" . }}
{{- end }}
{{- end }}

{{/* Of what outlives a Job: its selector is left out. */}}
{{- define "kfit.commonLabels" -}}
app.kubernetes.io/name: kfit
app.kubernetes.io/instance: {{ include "kfit.name" . }}
app.kubernetes.io/part-of: kfit
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kfit.labels" -}}
{{ include "kfit.commonLabels" . }}
{{ include "kfit.selector" . }}
{{- end }}

{{/* Labels of a Job: those of all objects and the queue that admits it. */}}
{{- define "kfit.jobLabels" -}}
{{ include "kfit.labels" . }}
{{- $queue := include "kfit.queue" . | fromJson }}
{{- with $queue.name }}
kueue.x-k8s.io/queue-name: {{ . }}
{{- end }}
{{- with $queue.priority }}
kueue.x-k8s.io/priority-class: {{ . }}
{{- end }}
{{- with .Values.jobLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The queue as {name, priority, topology}, however it was written. */}}
{{- define "kfit.queue" -}}
{{- if kindIs "map" .Values.queue }}{{ toJson .Values.queue }}{{ else }}{{ dict "name" .Values.queue | toJson }}{{ end -}}
{{- end }}

{{/*
Annotations of the pods: the user's, where Kueue places them together, and the job file. So a Job carries all that
its pods need: nothing is left behind by plain kubectl, and no `helm upgrade` takes the file from a run's retry.
*/}}
{{- define "kfit.podAnnotations" -}}
kfit.dev/job-file: |
  {{- include "kfit.jobFile" . | nindent 2 }}
{{- $topology := (include "kfit.queue" . | fromJson).topology | default dict -}}
{{- $notes := dict -}}
{{- with $topology.required }}{{ $_ := set $notes "kueue.x-k8s.io/podset-required-topology" . }}{{ end -}}
{{- with $topology.preferred }}{{ $_ := set $notes "kueue.x-k8s.io/podset-preferred-topology" . }}{{ end -}}
{{- $notes = merge $notes .Values.podAnnotations -}}
{{- if $notes }}
{{ toYaml $notes }}
{{- end }}
{{- end }}

{{/* What the trainer reads: the key `run:` and nothing else. */}}
{{- define "kfit.jobFile" -}}
{{- toYaml (dict "run" .Values.run) -}}
{{- end }}

{{- define "kfit.jobAnnotations" -}}
kfit.dev/output-uri: {{ dig "output" "uri" "" .Values.run | quote }}
kfit.dev/values-hash: {{ include "kfit.hash" . }}
{{- if int .Values.minNodes }}
kueue.x-k8s.io/job-min-parallelism: {{ int .Values.minNodes | quote }}
kueue.x-k8s.io/job-completions-equal-parallelism: "true"
{{- end }}
{{- with .Values.jobAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kfit.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}{{ with $image.tag }}:{{ . }}{{ end }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}
