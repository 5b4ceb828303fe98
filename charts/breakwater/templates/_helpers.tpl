{{/* The prefix of object names. */}}
{{- define "breakwater.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "breakwater.operator.fullname" -}}{{ include "breakwater.fullname" . }}-operator{{- end -}}
{{- define "breakwater.dataPlane.fullname" -}}{{ include "breakwater.fullname" . }}-data-plane{{- end -}}

{{/* What selects pods: never changed after the first release, since selectors are immutable. */}}
{{- define "breakwater.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "breakwater.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "breakwater.selectorLabels" . }}
app.kubernetes.io/part-of: breakwater
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "breakwater.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "breakwater.operator.serviceAccountName" -}}
{{- if .Values.operator.serviceAccount.create -}}
{{ default (include "breakwater.operator.fullname" .) .Values.operator.serviceAccount.name }}
{{- else -}}
{{ required "operator.serviceAccount.name: name an existing ServiceAccount, or let the chart create one" .Values.operator.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "breakwater.dataPlane.serviceAccountName" -}}
{{- if .Values.dataPlane.serviceAccount.create -}}
{{ default (include "breakwater.dataPlane.fullname" .) .Values.dataPlane.serviceAccount.name }}
{{- else -}}
{{ required "dataPlane.serviceAccount.name: name an existing ServiceAccount, or let the chart create one" .Values.dataPlane.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* A quantity with a binary suffix, or none, in bytes. */}}
{{- define "breakwater.bytes" -}}
{{- $text := toString .value -}}
{{- if not (regexMatch "^[0-9]+(Ki|Mi|Gi|Ti)?$" $text) -}}
{{- fail (printf "%s: %q is not a size this chart can halve; write a whole number with Ki, Mi, Gi or Ti" .field $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $suffix := regexFind "[KMGT]i$" $text -}}
{{- $unit := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul $number (get $unit $suffix | int64) -}}
{{- end -}}

{{/* Bytes for cached objects: never all of the limit, or the kernel ends the pod. */}}
{{- define "breakwater.dataPlane.cacheBytes" -}}
{{- $limit := dig "limits" "memory" "" .Values.dataPlane.resources -}}
{{- if .Values.dataPlane.cacheMemory -}}
{{- $cache := include "breakwater.bytes" (dict "field" "dataPlane.cacheMemory" "value" .Values.dataPlane.cacheMemory) | int64 -}}
{{- if $limit -}}
{{- if ge $cache (include "breakwater.bytes" (dict "field" "dataPlane.resources.limits.memory" "value" $limit) | int64) -}}
{{- fail (printf "dataPlane.cacheMemory: %s leaves nothing of the memory limit of %s; lower it or raise dataPlane.resources.limits.memory" .Values.dataPlane.cacheMemory (toString $limit)) -}}
{{- end -}}
{{- end -}}
{{- $cache -}}
{{- else -}}
{{- $limit := required "dataPlane.cacheMemory: set it when dataPlane.resources.limits.memory is not set" $limit -}}
{{- div (include "breakwater.bytes" (dict "field" "dataPlane.resources.limits.memory" "value" $limit) | int64) 2 -}}
{{- end -}}
{{- end -}}

{{/* The same for every container of ours: no privilege, nothing to write to but mounts. */}}
{{- define "breakwater.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What both pods may be given. */}}
{{- define "breakwater.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
