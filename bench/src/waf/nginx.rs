//! nginx with Debian's `libnginx-mod-http-modsecurity`: one worker, the recommended settings of ModSecurity, the rules.

use std::fmt::Write;

use super::requests::Site;
use super::server::{Setup, Sites};
use crate::Error;

pub(super) const SETTINGS: &str = "1 worker; proxy_cache, upstream with keepalive, client_body_buffer_size 128k; modsecurity.conf-recommended with \
     SecRuleEngine On, SecRequestBodyAccess On, SecResponseBodyAccess Off; SecAuditEngine RelevantOnly, parts AHZ, JSON, to /dev/null";

/// Where Debian puts it.
pub(super) const MODULE: &str = "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so";

/// Files of rules, beside the configuration.
const ENFORCE: &str = "enforce.conf";
const DETECT: &str = "detect.conf";

/// ModSecurity's recommended settings, as far as they say something about requests.
const RECOMMENDED: &str = r#"SecRequestBodyAccess On
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" "id:'200000',phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" "id:'200001',phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecRequestBodyLimitAction Reject
SecRequestBodyJsonDepthLimit 512
SecRule REQBODY_ERROR "!@eq 0" "id:'200002',phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body.'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:'200003',phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation'"
SecRule MULTIPART_UNMATCHED_BOUNDARY "@eq 1" "id:'200004',phase:2,t:none,log,deny,msg:'Multipart parser detected a possible unmatched boundary.'"
SecPcreMatchLimit 1000
SecPcreMatchLimitRecursion 1000
SecResponseBodyAccess Off
SecAuditEngine RelevantOnly
SecAuditLogRelevantStatus "^(?:5|4(?!04))"
SecAuditLogParts AHZ
SecAuditLogFormat JSON
SecAuditLogType Serial
SecAuditLog /dev/null
SecArgumentSeparator &
SecCookieFormat 0
"#;

pub(super) fn command(setup: &Setup<'_>) -> Result<Vec<String>, Error> {
    setup.write("nginx.conf", &configuration(setup))?;
    write(setup)?;
    let words = ["nginx", "-p", &setup.path(""), "-c", &setup.path("nginx.conf")];
    Ok(words.map(str::to_owned).to_vec())
}

/// The files of rules.
pub(super) fn write(setup: &Setup<'_>) -> Result<(), Error> {
    match setup.sites {
        Sites::Hosts => {
            setup.write(ENFORCE, &rules(setup, "On", ""))?;
            setup.write(DETECT, &rules(setup, "DetectionOnly", ""))
        }
        Sites::Routes(routes) => (0..routes).try_for_each(|route| {
            let exclusion = format!("SecRuleUpdateTargetById 942100 \"!ARGS:q{route}\"\n");
            setup.write(&file_of_route(route), &rules(setup, "On", &exclusion))
        }),
    }
}

fn file_of_route(route: usize) -> String {
    format!("route{route}.conf")
}

fn rules(setup: &Setup<'_>, engine: &str, at_the_end: &str) -> String {
    let rules = setup.common.rules;
    format!(
        "SecRuleEngine {engine}\n{RECOMMENDED}Include {}\n{}\nInclude {}/rules/*.conf\n{at_the_end}",
        rules.setup.display(),
        setup.own_rule(),
        rules.directory.display()
    )
}

fn configuration(setup: &Setup<'_>) -> String {
    let directory = setup.directory.display();
    let with = |file: &str| format!("modsecurity on; modsecurity_rules_file {directory}/{file};");
    let mut servers = String::new();
    let mut server = |site: Site, inner: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            servers,
            "  server {{ listen {}; server_name {}; {inner} }}",
            setup.address,
            site.host()
        );
    };
    match setup.sites {
        Sites::Hosts => {
            let pass = "location / { proxy_pass http://origin; }";
            server(Site::Plain, pass);
            server(Site::Enforce, &format!("{} {pass}", with(ENFORCE)));
            server(Site::Detect, &format!("{} {pass}", with(DETECT)));
        }
        Sites::Routes(routes) => {
            let location = |route| {
                let with = with(&file_of_route(route));
                format!("\n    location /r{route}/ {{ {with} proxy_pass http://origin; }}")
            };
            server(Site::Enforce, &(0..routes).map(location).collect::<String>());
        }
    }
    format!(
        "load_module {MODULE};\ndaemon off;\nworker_processes 1;\nuser root;\npid {directory}/nginx.pid;\n\
         error_log stderr crit;\nworker_rlimit_nofile 20000;\nevents {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_timeout 3600s;\n  keepalive_requests 1000000000;\n\
         \x20 client_body_buffer_size 128k;\n\
         \x20 client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n\
         \x20 fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  scgi_temp_path {directory}/scgi;\n\
         \x20 upstream origin {{ server {}; keepalive 64; }}\n\
         \x20 proxy_cache_path {directory}/cache levels=1:2 keys_zone=bench:16m inactive=1h use_temp_path=off;\n\
         \x20 proxy_cache bench;\n  proxy_cache_key $host$request_uri;\n\
         \x20 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_set_header Host $host;\n{servers}}}\n",
        setup.common.origin
    )
}
