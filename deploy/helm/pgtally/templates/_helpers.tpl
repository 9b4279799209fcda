{{/* Names and labels. */}}
{{- define "pgtally.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 }}{{ end }}
{{- end }}

{{- define "pgtally.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pgtally.labels" -}}
{{ include "pgtally.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "pgtally.secret" -}}
{{ .Values.existingSecret | default (include "pgtally.name" .) }}
{{- end }}

{{/* The configuration file: one table per section, every value as JSON, which TOML reads alike. */}}
{{- define "pgtally.config" -}}
{{- range $section, $settings := .Values.config }}
[{{ $section }}]
{{- range $key, $value := $settings }}
{{ $key }} = {{ $value | toJson }}
{{- end }}
{{ end }}
{{- end }}
