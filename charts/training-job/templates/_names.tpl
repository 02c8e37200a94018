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
{{- $shape := omit .Values "schedule" "networkPolicy" "alerts" "dashboard" "podDisruptionBudget" "extraObjects" "commonAnnotations" "enabled" "global" -}}
{{- /* as helm versions differ in whether a null stands in the values */ -}}
{{- $_ := set $shape "queue" (include "kfit.queue" . | fromJson) -}}
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
{{- $own := dict "app.kubernetes.io/name" "kfit" "app.kubernetes.io/instance" (include "kfit.name" .) "app.kubernetes.io/part-of" "kfit" -}}
{{- $version := dict "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $chart := dict "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_")) -}}
{{- merge $own $version $chart .Values.commonLabels | toYaml -}}
{{- end }}

{{- define "kfit.labels" -}}
{{- merge (include "kfit.selector" . | fromYaml) (include "kfit.commonLabels" . | fromYaml) | toYaml -}}
{{- end }}

{{/* Labels and annotations of an object that is neither the Job nor the CronJob's Jobs. */}}
{{- define "kfit.metadata" -}}
labels:
  {{- include "kfit.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels of a Job: those of all objects and the queue that admits it. */}}
{{- define "kfit.jobLabels" -}}
{{- $queue := include "kfit.queue" . | fromJson -}}
{{- $own := dict -}}
{{- with $queue.name }}{{ $_ := set $own "kueue.x-k8s.io/queue-name" . }}{{ end -}}
{{- with $queue.priority }}{{ $_ := set $own "kueue.x-k8s.io/priority-class" . }}{{ end -}}
{{- merge $own .Values.jobLabels (include "kfit.labels" . | fromYaml) | toYaml -}}
{{- end }}

{{- define "kfit.podLabels" -}}
{{- merge dict .Values.podLabels (include "kfit.labels" . | fromYaml) | toYaml -}}
{{- end }}

{{/* The queue as {name, priority, topology}, however it was written. */}}
{{- define "kfit.queue" -}}
{{- if kindIs "map" .Values.queue }}{{ toJson .Values.queue }}{{ else }}{{ dict "name" (.Values.queue | default "") | toJson }}{{ end -}}
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

{{/* With where the pods may run as the values say: Kueue writes the nodes of the day into an admitted Job, and `kfit resume` copies it. */}}
{{- define "kfit.jobAnnotations" -}}
{{- $own := dict "kfit.dev/output-uri" (dig "output" "uri" "" .Values.run) "kfit.dev/values-hash" (include "kfit.hash" .) -}}
{{- if int .Values.minNodes }}
{{- $own = merge $own (dict "kueue.x-k8s.io/job-min-parallelism" (int .Values.minNodes | toString) "kueue.x-k8s.io/job-completions-equal-parallelism" "true") -}}
{{- end }}
{{- if (include "kfit.queue" . | fromJson).name }}
{{- $_ := set $own "kfit.dev/placement" (dict "nodeSelector" .Values.nodeSelector "tolerations" .Values.tolerations | toJson) -}}
{{- end }}
{{- merge $own .Values.jobAnnotations | toYaml -}}
{{- end }}

{{- define "kfit.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}{{ with $image.tag }}:{{ . }}{{ end }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}
