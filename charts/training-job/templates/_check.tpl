{{/*
Combinations of values that no schema can refuse. All faults are reported at once, each with its remedy.
`kfit.check` fails or is empty; each list below is one line a fault.
*/}}
{{- define "kfit.check" -}}
{{- $faults := list -}}
{{- range list "kfit.checkNeeded" "kfit.checkSize" "kfit.checkNumbers" "kfit.checkName" "kfit.checkTimes" "kfit.checkEnv" "kfit.checkLabels" "kfit.checkVolumes" "kfit.checkClaims" "kfit.checkResources" "kfit.checkQueue" "kfit.checkPod" "kfit.checkUrls" -}}
{{- range include . $ | splitList "\n" }}{{ with trim . }}{{ $faults = append $faults . }}{{ end }}{{ end -}}
{{- end -}}
{{- if $faults }}{{ fail (join "\n  " $faults) }}{{ end -}}
{{- end }}

{{- define "kfit.checkNeeded" -}}
{{- if not .Values.name }}
name is missing: `name: flights`
{{- end }}
{{- if not .Values.run }}
run is missing: the trainer's configuration, see docs/job-file.md
{{- end }}
{{- if not .Values.image.repository }}
image.repository is missing: `--set image.repository=registry.example/trainer`
{{- end }}
{{- if not (include "kfit.atLeast" (list . "1.31")) }}
Kubernetes {{ include "kfit.kubeVersion" . }} is too old, 1.31 is needed; where the cluster is newer, set kubeVersion to its version
{{- end }}
{{- end }}

{{/* Kubernetes takes 256 KiB of annotations, and kubectl apply keeps the Job once more in one of them. */}}
{{- define "kfit.checkSize" -}}
{{- $size := len (include "kfit.jobFile" .) -}}
{{- if gt $size 120000 }}
run has {{ $size }} characters, and a Job carries at most 120000; name data by globs, windows or folders instead of long lists, or put the file into a ConfigMap of your own, mount it by volumes and volumeMounts, and name it in args: [fit, /path/job.yaml]
{{- end }}
{{- end }}

{{/* Helm keeps numbers of a values file as float64, so a whole number above 2^53 has been rounded by now. */}}
{{- define "kfit.checkNumbers" -}}
{{- include "kfit.checkNumber" (list "run" .Values.run) -}}
{{- end }}

{{- define "kfit.checkNumber" -}}
{{- $at := index . 0 -}}
{{- $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- range $key, $below := $value }}{{ include "kfit.checkNumber" (list (printf "%s.%s" $at $key) $below) }}{{ end -}}
{{- else if kindIs "slice" $value -}}
{{- range $index, $below := $value }}{{ include "kfit.checkNumber" (list (printf "%s[%d]" $at $index) $below) }}{{ end -}}
{{- else if kindIs "float64" $value -}}
{{- if and (eq $value (floor $value)) (or (and (gt $value 9007199254740992.0) (lt $value 18446744073709551616.0)) (and (lt $value -9007199254740992.0) (gt $value -18446744073709551616.0))) }}
{{ $at }} is a whole number above 2^53, which helm rounds; put it in quotes where it is an id, or use a smaller number
{{- end -}}
{{- end -}}
{{- end }}

{{/* Kubernetes appends to names, and refuses the pod (not the Job) where the sum has more than 63 characters. */}}
{{- define "kfit.checkName" -}}
{{- $several := gt (int .Values.nodes) 1 -}}
{{- /* a dash and the highest index */ -}}
{{- $index := ternary (add 1 (len (sub (int .Values.nodes) 1 | toString))) 0 $several -}}
{{- /* 63 without a dash and 8 of the hash, or without a dash and the minutes since 1970, for which it keeps 11 */ -}}
{{- $most := sub (ternary 52 54 (ne (include "kfit.scheduled" .) "")) $index -}}
{{- $name := include "kfit.name" . }}
{{- if gt (len $name) (int $most) }}
name {{ $name }} has {{ len $name }} characters; at most {{ $most }} go with {{ ternary "a schedule" "a Job" (ne (include "kfit.scheduled" .) "") }}{{ if $several }} of {{ .Values.nodes }} nodes{{ end }}
{{- end }}
{{- end }}

{{- define "kfit.checkTimes" -}}
{{- if ge (int .Values.terminationGracePeriodSeconds) (int .Values.activeDeadlineSeconds) }}
terminationGracePeriodSeconds ({{ int .Values.terminationGracePeriodSeconds }}) must be less than activeDeadlineSeconds ({{ int .Values.activeDeadlineSeconds }})
{{- end }}
{{- if and .Values.runId (include "kfit.scheduled" .) }}
runId goes with a Job: a schedule that had one would go on with the same run every time; remove runId or schedule.cron
{{- end }}
{{- end }}

{{- define "kfit.checkEnv" -}}
{{- $seen := dict -}}
{{- range .Values.env }}
{{- if or (hasPrefix "KFIT_" .name) (eq .name "HOME") }}
env: {{ .name }} is set by the chart; remove it
{{- else if hasKey $seen .name }}
env: {{ .name }} stands twice; remove one
{{- else if and .value .valueFrom }}
env: {{ .name }} has value and valueFrom; remove one
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- range $i, $_ := .Values.envFrom }}
{{- if eq (empty .secretRef) (empty .configMapRef) }}
envFrom[{{ $i }}]: give one of secretRef and configMapRef
{{- end }}
{{- end }}
{{- end }}

{{- define "kfit.checkLabels" -}}
{{- range $where, $labels := pick .Values "commonLabels" "jobLabels" "podLabels" }}
{{- range $key, $_ := $labels }}
{{- if or (hasPrefix "kfit.dev/" $key) (hasPrefix "app.kubernetes.io/" $key) (hasPrefix "batch.kubernetes.io/" $key) (eq "helm.sh/chart" $key) (eq "kueue.x-k8s.io/queue-name" $key) }}
{{ $where }}: {{ $key }} is set by the chart or by Kubernetes; remove it
{{- end }}
{{- end }}
{{- end }}
{{- if and (hasKey .Values.jobLabels "kueue.x-k8s.io/priority-class") (include "kfit.queue" . | fromJson).priority }}
jobLabels: kueue.x-k8s.io/priority-class is queue.priority; remove one
{{- end }}
{{- with get .Values.podAnnotations "kfit.dev/date" }}
{{- if not (regexMatch "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" .) }}
podAnnotations: kfit.dev/date is {{ . }}; write the run's day like 2026-01-31
{{- end }}
{{- end }}
{{- $own := list "kfit.dev/job-file" "kfit.dev/output-uri" "kfit.dev/values-hash" "kfit.dev/placement" "kueue.x-k8s.io/job-min-parallelism" "kueue.x-k8s.io/job-completions-equal-parallelism" }}
{{- range $where, $notes := pick .Values "commonAnnotations" "jobAnnotations" "podAnnotations" }}
{{- range $key, $_ := $notes }}
{{- if has $key $own }}
{{ $where }}: {{ $key }} is set by the chart; remove it
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not by the schema, whose message would show the URL: it may hold a password. */}}
{{- define "kfit.checkUrls" -}}
{{- $notify := .Values.run.notify | default dict -}}
{{- $metrics := .Values.run.metrics | default dict -}}
{{- range $key, $url := dict "notify.url" $notify.url "metrics.pushgateway" $metrics.pushgateway }}
{{- if and $url (not (regexMatch "^https?://[^/\\s]+" $url)) }}
run.{{ $key }} is no http or https URL; it is not shown, since it may hold a secret
{{- end }}
{{- end }}
{{- end }}

{{- define "kfit.checkPod" -}}
{{- $names := list "trainer" }}
{{- range .Values.initContainers }}
{{- if has .name $names }}
initContainers: {{ .name }} stands twice, or is the chart's own container; give yours another name
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- if and (eq .Values.dnsPolicy "None") (not .Values.dnsConfig.nameservers) }}
dnsPolicy None needs dnsConfig.nameservers; name one, or remove dnsPolicy
{{- end }}
{{- range $i, $one := .Values.tolerations }}
{{- if and (eq (.operator | default "") "Exists") .value }}
tolerations[{{ $i }}]: operator Exists takes every value; remove value, or operator
{{- end }}
{{- if and (not .key) (ne (.operator | default "") "Exists") }}
tolerations[{{ $i }}]: key is missing; name one, or tolerate all by operator: Exists
{{- end }}
{{- if and (hasKey . "tolerationSeconds") (ne (.effect | default "") "NoExecute") }}
tolerations[{{ $i }}]: tolerationSeconds goes with effect: NoExecute
{{- end }}
{{- end }}
{{- range $i, $rule := .Values.podFailurePolicyRules }}
{{- range (dig "onExitCodes" "values" list $rule) }}
{{- if and (eq (int .) 0) (eq $rule.onExitCodes.operator "In") }}
podFailurePolicyRules[{{ $i }}]: exit code 0 is success, and In takes failures alone; remove it
{{- end }}
{{- end }}
{{- end }}
{{- range $i, $object := .Values.extraObjects }}
{{- if not (or (dig "metadata" "name" "" $object) (dig "metadata" "generateName" "" $object)) }}
extraObjects[{{ $i }}]: metadata.name is missing
{{- end }}
{{- if has $object.kind (list "Job" "CronJob") }}
extraObjects[{{ $i }}]: a {{ $object.kind }} beside the chart's own; give it a job file, or a chart, of its own
{{- end }}
{{- end }}
{{- end }}

{{- define "kfit.checkResources" -}}
{{- with .Values.resources }}
{{- range $key, $amount := pick . "cpu" "memory" "shm" }}
{{- if eq (include "kfit.amount" $amount) "0" }}
resources.{{ $key }} is {{ $amount }}; give more than nothing
{{- end }}
{{- end }}
{{- $memory := include "kfit.amount" .memory | float64 }}
{{- $shm := include "kfit.amount" .shm | float64 }}
{{- $tmp := include "kfit.amount" .tmp.size | float64 }}
{{- if and $memory (ge $shm $memory) }}
resources.shm ({{ .shm }}) counts as memory and must be less than resources.memory ({{ .memory }})
{{- else if and (eq .tmp.medium "Memory") (ge (addf $shm $tmp) $memory) }}
resources.shm ({{ .shm }}) and resources.tmp.size ({{ .tmp.size }}) count as memory and must be less than resources.memory ({{ .memory }}) together
{{- else if and (eq .tmp.medium "") .ephemeralStorage (gt $tmp (include "kfit.amount" .ephemeralStorage | float64)) }}
resources.tmp.size ({{ .tmp.size }}) is more than resources.ephemeralStorage ({{ .ephemeralStorage }}), of which /tmp is a part
{{- end }}
{{- $settings := dict "cpu" "cpu" "memory" "memory" "ephemeral-storage" "ephemeralStorage" }}
{{- range $key, $request := .requests }}
{{- $setting := get $settings $key }}
{{- $limit := get $.Values.resources $setting }}
{{- if and $limit (gt (include "kfit.amount" $request | float64) (include "kfit.amount" $limit | float64)) }}
resources.requests.{{ $key }} ({{ $request }}) is more than the limit, resources.{{ $setting }} ({{ $limit }})
{{- end }}
{{- end }}
{{- range $key, $_ := pick .extra "cpu" "memory" "ephemeral-storage" .gpuResource }}
resources.extra: {{ $key }} is resources.{{ get $settings $key | default "gpus" }}; set that
{{- end }}
{{- end }}
{{- end }}

{{/* A quantity as a number: 500m is 0.5, 2Ki is 2048. */}}
{{- define "kfit.amount" -}}
{{- $factors := dict "m" 0.001 "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- $text := toString . -}}
{{- mulf (regexFind "^[0-9.e+]+" $text | float64) (get $factors (regexFind "[a-zA-Z]+$" $text) | float64) -}}
{{- end }}

{{- define "kfit.checkQueue" -}}
{{- $queue := include "kfit.queue" . | fromJson }}
{{- $topology := $queue.topology | default dict }}
{{- if and (not $queue.name) (or $queue.priority $topology.required $topology.preferred) }}
queue.name is missing: queue.priority and queue.topology go with a LocalQueue
{{- end }}
{{- if and $topology.required $topology.preferred }}
queue.topology: give one of required and preferred
{{- end }}
{{- if int .Values.minNodes }}
{{- if not $queue.name }}
minNodes goes with a queue, which admits fewer pods than nodes; name one in queue, or remove minNodes
{{- end }}
{{- if ge (int .Values.minNodes) (int .Values.nodes) }}
minNodes ({{ int .Values.minNodes }}) must be less than nodes ({{ int .Values.nodes }}); remove it to start with all
{{- end }}
{{- end }}
{{- if and .Values.suspend $queue.name }}
suspend goes without a queue: Kueue suspends the Job itself; remove suspend
{{- end }}
{{- if and .Values.managedBy (not (include "kfit.atLeast" (list . "1.32"))) }}
managedBy needs Kubernetes 1.32, this is {{ include "kfit.kubeVersion" . }}; remove it, or set kubeVersion to the cluster's version
{{- end }}
{{- end }}

{{- define "kfit.checkVolumes" -}}
{{- $names := list -}}
{{- range .Values.volumes }}
{{- if has .name (list "config" "tmp" "shm") }}
volumes: {{ .name }} is a volume of the chart; give yours another name
{{- else if has .name $names }}
volumes: {{ .name }} stands twice; remove one
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- $paths := list -}}
{{- range .Values.volumeMounts }}
{{- if not (has .name $names) }}
volumeMounts: no volume {{ .name }}; volumes has {{ join ", " $names | default "none" }}
{{- end }}
{{- if has .mountPath $paths }}
volumeMounts: {{ .mountPath }} stands twice; choose another path
{{- end }}
{{- $paths = append $paths .mountPath }}
{{- $inside := .subPath | default "" }}
{{- if or (hasPrefix "/" $inside) (has ".." (splitList "/" $inside)) }}
volumeMounts: subPath {{ $inside }} leads out of the volume; name a folder inside it
{{- end }}
{{- if has (trimSuffix "/" .mountPath) (list "/etc/kfit" "/tmp" "/dev/shm") }}
volumeMounts: {{ .mountPath }} is mounted by the chart; choose another path
{{- end }}
{{- end }}
{{- end }}

{{- define "kfit.checkClaims" -}}
{{- if and .Values.resources.claims (not (include "kfit.atLeast" (list . "1.34"))) }}
resources.claims need Kubernetes 1.34, this is {{ include "kfit.kubeVersion" . }}; use resources.gpus, or set kubeVersion to the cluster's version
{{- end }}
{{- $names := list -}}
{{- range .Values.resources.claims }}
{{- if ne (len (compact (list .deviceClassName .resourceClaimTemplateName .resourceClaimName))) 1 }}
resources.claims: {{ .name }} needs one of deviceClassName, resourceClaimTemplateName and resourceClaimName
{{- end }}
{{- if has .name $names }}
resources.claims: {{ .name }} stands twice; remove one
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
