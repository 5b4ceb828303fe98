//! A real Kubernetes on one machine, from packages alone.
//!
//! Two levels: [`ControlPlane`] is etcd and kube-apiserver (ring a), [`Cluster`] adds the
//! controllers and one to three nodes that run pods (ring b). Everything a level starts is held in
//! its [`run_dir`], whose number also names its addresses, cgroups and interfaces, so that several
//! run beside each other and one directory name is enough to remove one.

pub mod build;
mod cgroup;
mod control_plane;
mod dns;
pub mod image;
mod kubeconfig;
mod network;
mod node;
pub mod run_dir;
mod whole;

pub(crate) use network::{Bridge, Holder, client_address};

pub use control_plane::ControlPlane;
pub use node::Node;
pub use whole::{Cluster, MAX_NODES};
