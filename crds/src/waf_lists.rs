//! Where a WafPolicy's lists of addresses are: ConfigMaps and URLs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConfigMapKey, Duration, ListUrl};

/// Where a list of addresses is: a ConfigMap or a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.configMap) != has(self.url)",
        "message": "a list is in one place: give configMap or url",
    },
    {
        "rule": "!has(self.refresh) || has(self.url)",
        "message": "a ConfigMap is watched and needs no refresh: leave it out",
    },
]))]
pub struct AddressSource {
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapKey>,
    /// Where the list is fetched, once for all nodes. The last good list stays in force while it cannot be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<ListUrl>,
    /// How often it is fetched again, 1m to 720h; the default is 1h. Of several policies with one URL, the shortest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Duration>,
}
