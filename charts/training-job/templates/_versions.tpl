{{/* The cluster's version, and what it allows. */}}

{{/* `helm template` knows helm's own version and not the cluster's, hence the value. */}}
{{- define "kfit.kubeVersion" -}}
{{- .Values.kubeVersion | default .Capabilities.KubeVersion.Version -}}
{{- end }}

{{/* {{ include "kfit.atLeast" (list . "1.34") }} is "true" or empty. Pre-releases and vendors' suffixes count as the version. */}}
{{- define "kfit.atLeast" -}}
{{- if semverCompare (printf ">=%s.0-0" (last .)) (include "kfit.kubeVersion" (first .)) }}true{{ end -}}
{{- end }}
