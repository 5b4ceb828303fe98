//! What may be stored, reused and shared: RFC 9111 as pure functions.
//!
//! Everything here is a decision over values: a request's [`request::RequestMeta`], a response's fields, a site's
//! [`site::SitePolicy`], instants as arguments. Nothing here stores, waits or sends; [`crate::Cache`] joins the
//! decisions with the store.

pub mod fresh;
pub mod invalidate;
pub mod request;
pub mod site;
pub mod statuses;
pub mod store;
pub mod validate;
