//! The configuration files of a node's programs. Values in, text out.

use std::{net::Ipv4Addr, path::Path};

use crate::{Result, command};

/// containerd: no registry, our own sandbox image, CNI from the given directories.
pub(super) fn containerd(pause: &str, snapshotter: &str, plugins: &Path, cni: &Path) -> String {
    let (plugins, cni) = (plugins.display(), cni.display());
    // Without CAP_SYS_RESOURCE (in containers and sandboxes) runc cannot lower an OOM score, which
    // the CRI asks for.
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{cni}"
"#
    )
}

/// The snapshotter that works in `directory`: overlayfs does not stack on overlayfs.
pub(super) fn snapshotter(directory: &Path) -> Result<&'static str> {
    let mut stat = command::words("stat --file-system --format=%T");
    stat.arg(directory);
    let kind = command::run_now(stat)?;
    Ok(if kind.starts_with("overlay") {
        "native"
    } else {
        "overlayfs"
    })
}

/// Pods are routed, not bridged: between two pods of a bridge, replies would pass by the packet
/// filter that must translate a Service's address back, unless the kernel has br_netfilter.
pub(super) fn cni(pods: &str) -> String {
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "e2e",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "ipam": {{ "type": "host-local", "ranges": [[{{ "subnet": "{pods}" }}]], "routes": [{{ "dst": "0.0.0.0/0" }}] }}
    }},
    {{ "type": "portmap", "capabilities": {{ "portMappings": true }} }}
  ]
}}
"#
    )
}

/// The kubelet: both cgroup versions, no authentication (it is reached on the bridge only), and no
/// eviction by a disk or memory that other work on the machine fills.
pub(super) fn kubelet(cgroup: &str, dns: Ipv4Addr, resolv_conf: &Path) -> String {
    let resolv_conf = resolv_conf.display();
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: cluster.local
clusterDNS: ["{dns}"]
resolvConf: "{resolv_conf}"
volumePluginDir: /var/lib/kubelet/volume-plugins
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}}
"#
    )
}

/// kube-proxy: iptables, and no connection-tracking limits, which belong to the host's namespace.
pub(super) fn kube_proxy(kubeconfig: &Path, node: &str, pods: &str) -> String {
    let kubeconfig = kubeconfig.display();
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: "{kubeconfig}"}}
mode: iptables
hostnameOverride: {node}
clusterCIDR: {pods}
oomScoreAdj: 0
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cni_configuration_is_json_with_the_nodes_range() {
        let value: serde_json::Value = serde_json::from_str(&cni("10.77.65.0/24")).expect("it is JSON");
        assert_eq!(value["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.77.65.0/24");
    }
}
