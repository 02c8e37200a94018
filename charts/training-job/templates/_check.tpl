{{/* Combinations of values that no schema can refuse. Each message says what mends it. */}}
{{- define "kfit.check" -}}
{{- if not .Values.run }}{{ fail "run is missing: the trainer's configuration, see docs/job-file.md" }}{{ end }}
{{- end }}
