package test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Configurations of other proxies become ones that run here: with addresses and files of the test, and without what needs more.

var (
	nginxListen  = regexp.MustCompile(`(?m)\blisten\s+([^\s;]+)([^;]*);`)
	nginxServer  = regexp.MustCompile(`\bserver\s+([^\s;{]+)([^;{]*);`)
	nginxPass    = regexp.MustCompile(`\bproxy_pass\s+(https?)://([^\s;/$]+)([^;]*);`)
	nginxCert    = regexp.MustCompile(`\bssl_certificate\s+[^;]+;`)
	nginxCertKey = regexp.MustCompile(`\bssl_certificate_key\s+[^;]+;`)
	nginxGone    = regexp.MustCompile(`(?m)^\s*(user|pid|worker_processes|load_module|ssl_dhparam|ssl_stapling|ssl_stapling_verify|ssl_trusted_certificate|ssl_client_certificate|ssl_verify_client|access_log|error_log|http2|proxy_cache_path|proxy_cache|proxy_cache_valid|auth_basic|auth_basic_user_file)\s[^;]*;.*\n`)
	nginxSet     = regexp.MustCompile(`set \$upstream_app (\S+);\s*set \$upstream_port (\d+);`)
	upstreamName = regexp.MustCompile(`\bupstream\s+(\S+)\s*\{`)
)

// prepareNginx makes a configuration of nginx one that runs here.
func prepareNginx(s *stage, text string) string {
	text = nginxGone.ReplaceAllString(text, "")
	isUpstream := map[string]bool{}
	for _, m := range upstreamName.FindAllStringSubmatch(text, -1) {
		isUpstream[m[1]] = true
	}
	text = nginxListen.ReplaceAllStringFunc(text, func(line string) string {
		m := nginxListen.FindStringSubmatch(line)
		if strings.HasPrefix(m[1], "[") && strings.Contains(text, "listen "+strings.TrimPrefix(m[1], "[::]:")) {
			return "" // the same port over IPv6
		}
		flags := ""
		for _, flag := range []string{"ssl", "default_server"} {
			if slices.Contains(strings.Fields(m[2]), flag) {
				flags += " " + flag
			}
		}
		return "listen " + s.listener(m[1]) + flags + ";"
	})
	text = nginxServer.ReplaceAllStringFunc(text, func(line string) string {
		m := nginxServer.FindStringSubmatch(line)
		return "server " + s.backend(m[1], false) + strings.ReplaceAll(m[2], "backup", "") + ";"
	})
	text = nginxPass.ReplaceAllStringFunc(text, func(line string) string {
		m := nginxPass.FindStringSubmatch(line)
		if isUpstream[m[2]] {
			return line
		}
		return "proxy_pass " + m[1] + "://" + s.backend(m[2], m[1] == "https") + m[3] + ";"
	})
	text = nginxSet.ReplaceAllStringFunc(text, func(lines string) string {
		m := nginxSet.FindStringSubmatch(lines)
		host, port, _ := strings.Cut(s.backend(m[1]+":"+m[2], false), ":")
		return "set $upstream_app " + host + ";\nset $upstream_port " + port + ";"
	})
	text = nginxCert.ReplaceAllString(text, "ssl_certificate "+s.leaf.cert+";")
	text = nginxCertKey.ReplaceAllString(text, "ssl_certificate_key "+s.leaf.key+";")
	return text
}

// completeNginx makes the main file of a configuration whole: sites have no http, and the test needs directories of its own.
func completeNginx(s *stage, text string) string {
	if !strings.Contains(text, "http {") {
		text = "http {\n" + text + "\n}\n"
	}
	if !strings.Contains(text, "events {") {
		text = "events {}\n" + text
	}
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s/%s;\n", kind, s.directory, kind)
	}
	text = strings.Replace(text, "http {", "http {\naccess_log off;\n"+temporary.String(), 1)
	return "error_log stderr;\npid " + s.directory + "/pid;\n" + text
}

var (
	haproxyBind   = regexp.MustCompile(`(?m)^(\s*bind\s+)(\S+)(.*)$`)
	haproxyServer = regexp.MustCompile(`(?m)^(\s*server\s+\S+\s+)(\S+)(.*)$`)
	haproxyFile   = regexp.MustCompile(`\b(crt|ca-file)\s+\S+`)
	haproxyGone   = regexp.MustCompile(`(?m)^\s*(user|group|daemon|chroot|log|stats socket|errorfile|tune\.|server-template|maxconn|ssl-default-\S+|hard-stop-after|nbthread)\b.*\n`)
)

// prepareHAProxy makes a configuration of HAProxy one that runs here.
func prepareHAProxy(s *stage, text string) string {
	text = haproxyGone.ReplaceAllString(text, "")
	text = haproxyBind.ReplaceAllStringFunc(text, func(line string) string {
		m := haproxyBind.FindStringSubmatch(line)
		return m[1] + s.listener(m[2]) + strings.NewReplacer(" accept-proxy", "", " v4v6", "").Replace(m[3])
	})
	text = haproxyServer.ReplaceAllStringFunc(text, func(line string) string {
		m := haproxyServer.FindStringSubmatch(line)
		return m[1] + s.backend(m[2], strings.Contains(m[3], " ssl")) + strings.ReplaceAll(m[3], " send-proxy-v2", "")
	})
	return haproxyFile.ReplaceAllStringFunc(text, func(part string) string {
		if strings.HasPrefix(part, "crt") {
			return "crt " + s.withKey()
		}
		return "ca-file " + s.authority.cert
	})
}

var (
	caddySite    = regexp.MustCompile(`(?m)^([a-z*:][^\n{]*?)\s*\{$`)
	caddyBackend = regexp.MustCompile(`(\s)(https?://)?(\{\$[^}]*\}|[a-z0-9.-]+:[0-9]+)`)
	caddyTLS     = regexp.MustCompile(`(?m)^\ttls\s[^\n{]*(\{[^}]*\})?\n`)
)

// prepareCaddy makes a Caddyfile one that runs here, without TLS: it would ask authorities for certificates.
func prepareCaddy(s *stage, text string) string {
	text = caddyTLS.ReplaceAllString(text, "")
	text = caddySite.ReplaceAllStringFunc(text, func(line string) string {
		var names []string
		for name := range strings.SplitSeq(strings.TrimSuffix(line, "{"), ",") {
			name = strings.TrimPrefix(strings.TrimSpace(name), "http://")
			host, port, hasPort := strings.Cut(name, ":")
			if !hasPort {
				port = "443"
			}
			names = append(names, "http://"+host+strings.TrimPrefix(s.listener(port), "127.0.0.1"))
		}
		return strings.Join(names, ", ") + " {\n\tbind 127.0.0.1"
	})
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "reverse_proxy ") {
			line = caddyBackend.ReplaceAllStringFunc(line, func(part string) string {
				m := caddyBackend.FindStringSubmatch(part)
				return m[1] + m[2] + s.backend(m[3], m[2] == "https://")
			})
		}
		lines = append(lines, line)
	}
	text = strings.Join(lines, "")
	if global := "\n{\n"; strings.Contains("\n"+text, global) {
		return strings.Replace("\n"+text, global, global+"\tadmin off\n\tauto_https off\n", 1)
	}
	return "{\n\tadmin off\n\tauto_https off\n}\n" + text
}
