//! Every permission the operator needs, in one table. The chart's Role and ClusterRole are checked against it.

/// What a rule is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The watched namespaces: a ClusterRole, or a Role in the one namespace.
    Watched,
    /// The operator's own namespace: a Role.
    Own,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it holds.
    pub scope: Scope,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resources.
    pub resources: &'static [&'static str],
    /// The names it is limited to; empty means all.
    pub names: &'static [&'static str],
    /// What may be done.
    pub verbs: &'static [&'static str],
}

/// The table.
pub const RULES: &[Rule] = &[
    Rule {
        scope: Scope::Watched,
        group: breakwater_crds::GROUP,
        resources: &["edgecaches", "wafpolicies", "wsroutes", "cachepurges"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        scope: Scope::Watched,
        group: breakwater_crds::GROUP,
        resources: &[
            "edgecaches/status",
            "wafpolicies/status",
            "wsroutes/status",
            "cachepurges/status",
        ],
        names: &[],
        verbs: &["patch"],
    },
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["services"],
        names: &[],
        verbs: &["list", "watch"],
    },
    // Certificates that `spec.tls` names. RBAC cannot say "only of type kubernetes.io/tls": the field selector of the
    // watch does, so that no other Secret is ever sent to the operator. No `get`: nothing is read by name.
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["secrets"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        scope: Scope::Watched,
        group: "discovery.k8s.io",
        resources: &["endpointslices"],
        names: &[],
        verbs: &["list", "watch"],
    },
    Rule {
        scope: Scope::Watched,
        group: "events.k8s.io",
        resources: &["events"],
        names: &[],
        verbs: &["create", "patch"],
    },
    // `create` cannot be limited to a name.
    Rule {
        scope: Scope::Own,
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["create"],
    },
    Rule {
        scope: Scope::Own,
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &["breakwater-operator"],
        verbs: &["get", "update"],
    },
];
