//! No client chooses that rules do not see what it is answered.

use std::io::Write as _;

use breakwater_snapshot::unit::{Prefetch, PrefetchList, Unit};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};

use crate::support::http2::{DATA, END, Http2, head};
use crate::support::origin_http2::{Origin2, http2_site};
use crate::support::{Origin, Plane, answer, edge_cache, objects, until};
use crate::waf_rules::{SECRET, policy, protected};

#[tokio::test]
async fn what_is_prefetched_is_judged_also_where_rules_would_refuse_its_request() {
    let origin = Origin::start(|request| async move {
        let body = if request.target() == "/leak" {
            "a secret"
        } else {
            "a word"
        };
        answer(200, "Content-Type: text/html\r\nCache-Control: max-age=60\r\n", body)
    })
    .await;
    let plane = Plane::start().await;
    let browsers = "SecRule &REQUEST_HEADERS:X-Browser \"@eq 0\" \"id:5,phase:1,deny,status:403\"";
    let judged = policy(&format!("{browsers}\n{SECRET}"), |_, rules| {
        rules.inspect_response = Some(4096)
    });
    let mut site = edge_cache(origin.address);
    site.prefetch = Some(Prefetch {
        list: PrefetchList {
            urls: vec!["//shop.test/leak".to_owned(), "//shop.test/word".to_owned()],
            sitemaps: Vec::new(),
            variants: vec![Vec::new()],
        },
        schedule: None,
        requests_per_second: 1000,
        concurrency: 8,
    });
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("policy", Unit::WafPolicy(judged)),
        ]))
        .await;
    let told = until("the list to be walked through", async || {
        let told = plane.data.prefetches();
        told.into_iter().find(|told| !told.running && told.completed.is_some())
    })
    .await;
    assert_eq!((told.fetched, told.failed), (1, 1));
    let line = plane.audit(1).await.remove(0);
    assert_eq!(line["rules"].as_array().map(Vec::len), Some(1));
    assert_eq!((&line["rules"][0]["id"], &line["status"]), (&1002.into(), &403.into()));
    let mut client = plane.client().await;
    assert!(client.get("shop.test", "/word", "X-Browser: 1\r\n").await.is_hit());
    assert_eq!(client.get("shop.test", "/leak", "X-Browser: 1\r\n").await.status, 403);
    assert_eq!(origin.count(), 3);
}
