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

{{/* The configuration file. Keys and plain values are written as JSON, which TOML reads alike. */}}
{{- define "pgtally.config" -}}
{{- include "pgtally.table" (dict "path" "" "table" .Values.config) }}
{{- end }}

{{/* One table: its own settings first, then the tables inside of it. */}}
{{- define "pgtally.table" -}}
{{- range $key, $value := .table }}
{{- if not (kindIs "map" $value) }}
{{ $key | toJson }} = {{ $value | toJson }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $path := printf "%s%s" $.path (toJson $key) }}

[{{ $path }}]
{{- include "pgtally.table" (dict "path" (printf "%s." $path) "table" $value) }}
{{- end }}
{{- end }}
{{- end }}
