{{- define "labels" -}}
{app.kubernetes.io/name: gql-imgproc, app.kubernetes.io/component: {{ . }}}
{{- end }}

{{- define "pod" -}}
serviceAccountName: gql-imgproc
automountServiceAccountToken: false
# No environment variables for each service of the namespace.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "container" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
envFrom:
  - configMapRef: {name: gql-imgproc}
  - secretRef: {name: {{ .Values.secret.name }}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: temporary, mountPath: /tmp}
{{- end }}

{{/* Changes with the settings, so that pods restart. */}}
{{- define "checksum" -}}
checksum/settings: {{ printf "%s%s" (toJson .Values.settings) (toJson .Values.secret) | sha256sum }}
{{- end }}
