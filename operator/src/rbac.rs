//! Every permission the operator needs, in one table. The chart's Role and ClusterRole are checked against it.

/// What a rule is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The watched namespaces: a ClusterRole, or a Role in the one namespace.
    Watched,
    /// The operator's own namespace: a Role.
    Own,
    /// The cluster, whose objects are in no namespace: the ClusterRole. Nothing, where the operator watches one
    /// namespace.
    Cluster,
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
    // Rules and lists of addresses that WafPolicies name.
    Rule {
        scope: Scope::Watched,
        group: "",
        resources: &["configmaps"],
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
    // Their labels, by which an EdgeCache says which nodes are the first of two levels. Only metadata is asked for, and
    // only once an EdgeCache does.
    Rule {
        scope: Scope::Cluster,
        group: "",
        resources: &["nodes"],
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
    // Lists of addresses that the leader fetched from the URLs that WafPolicies name. Their names come from URLs, so the
    // rule cannot name them.
    Rule {
        scope: Scope::Own,
        group: "",
        resources: &["configmaps"],
        names: &[],
        verbs: &["create", "delete", "list", "update", "watch"],
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
