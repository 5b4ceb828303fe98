//! Fetching from a server on this machine, and keeping what it says, as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_waf::address::list::unpack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::rustls;

use super::fetch::{FetchError, Fetched, Validators};
use super::record::restore;
use super::{Fetcher, ListMetrics, Record, Shelf, Wanted, keep, key};

/// What a server answers to a path, and what it was asked.
type Answer = fn(&str, &HeaderMap) -> Response;

async fn serve(answer: impl Fn(&str, &HeaderMap) -> Response + Clone + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move |uri: Uri, fields: HeaderMap| {
        let answer = answer.clone();
        async move { answer(&uri.to_string(), &fields) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn answer(status: u16, fields: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

async fn fetch(address: SocketAddr, path: &str, known: &Validators) -> Result<Fetched, FetchError> {
    let url = format!("http://{address}{path}");
    Fetcher::with(true, 1000, None).fetch(&url, known).await
}

async fn refusal(address: SocketAddr, path: &str) -> String {
    let refused = fetch(address, path, &Validators::default()).await;
    refused.unwrap_err().to_string()
}

fn nets(packed: &[u8]) -> Vec<String> {
    unpack(packed).unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_list_is_fetched_with_its_validators_and_asked_for_with_them() {
    let answers: Answer = |path, fields| {
        assert_eq!(path, "/drop.txt?token=hunter2");
        match fields.get("if-none-match") {
            Some(etag) if etag == "\"7\"" => answer(304, &[], ""),
            _ => answer(200, &[("etag", "\"7\"")], "# two\n203.0.113.0/25\n203.0.113.128/25\n"),
        }
    };
    let address = serve(answers).await;
    let path = "/drop.txt?token=hunter2";
    let Fetched::List {
        packed,
        entries,
        validators,
    } = fetch(address, path, &Validators::default()).await.unwrap()
    else {
        panic!("a list was given");
    };
    assert_eq!((nets(&packed), entries), (vec!["203.0.113.0/24".to_owned()], 2));
    assert_eq!(validators.etag.as_deref(), Some("\"7\""));
    assert_eq!(fetch(address, path, &validators).await.unwrap(), Fetched::Unchanged);
}

#[tokio::test]
async fn a_list_may_be_compressed_and_its_text_is_bounded_all_the_same() {
    let answers: Answer = |path, _| {
        let text = match path {
            "/small" => "198.51.100.7\n".repeat(2),
            _ => "#\n".repeat(100_000),
        };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        answer(200, &[("content-encoding", "gzip")], gzip.finish().unwrap())
    };
    let address = serve(answers).await;
    let small = fetch(address, "/small", &Validators::default()).await.unwrap();
    assert!(matches!(small, Fetched::List { entries: 2, .. }), "{small:?}");
    let error = refusal(address, "/large").await;
    assert_eq!(error, "the answer is no list: the list: is longer than 1000 bytes");
}

#[tokio::test]
async fn what_is_no_list_is_refused_without_a_word_of_what_it_holds() {
    let answers: Answer = |path, _| match path {
        "/page" => answer(200, &[], "<html>hunter2"),
        "/long" => answer(200, &[], "#\n".repeat(600)),
        "/brotli" => answer(200, &[("content-encoding", "br")], "x"),
        "/same" => answer(304, &[], ""),
        "/cut" => answer(200, &[("content-encoding", "gzip")], &b"\x1f\x8b\x08"[..]),
        _ => answer(503, &[], "hunter2"),
    };
    let address = serve(answers).await;
    for (path, expected) in [
        ("/page", "line 1: is neither"),
        ("/long", "longer than 1000 bytes"),
        ("/brotli", "compressed in a way"),
        ("/same", "status 304"),
        ("/cut", "no list"),
        ("/else?token=hunter2", "status 503"),
    ] {
        let error = refusal(address, path).await;
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn redirects_are_followed_three_times_and_only_to_where_fetching_is_allowed() {
    let answers: Answer = |path, _| match path {
        "/4" => answer(302, &[("location", "/3")], ""),
        "/3" => answer(301, &[("location", "/2")], ""),
        "/2" => answer(307, &[("location", "/1")], ""),
        "/1" => answer(308, &[("location", "/0")], ""),
        "/0" => answer(200, &[], "198.51.100.7"),
        "/metadata" => answer(302, &[("location", "http://169.254.169.254/latest?hunter2")], ""),
        "/user" => answer(302, &[("location", "http://user:hunter2@lists.example/")], ""),
        "/file" => answer(302, &[("location", "file:///etc/hunter2")], ""),
        _ => answer(302, &[], ""),
    };
    let address = serve(answers).await;
    let three = fetch(address, "/3", &Validators::default()).await.unwrap();
    assert!(matches!(three, Fetched::List { entries: 1, .. }));
    for (path, expected) in [
        ("/4", "more than 3 times"),
        (
            "/metadata",
            "169.254.169.254 is at an address from which nothing is fetched",
        ),
        ("/user", "without user and password"),
        ("/file", "only http and https"),
        ("/nowhere", "redirected nowhere"),
    ] {
        let error = refusal(address, path).await;
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn an_operator_fetches_nothing_from_its_own_machine_by_whatever_name() {
    let answers: Answer = |_, _| panic!("it was asked");
    let port = serve(answers).await.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ] {
        let url = format!("http://{host}:{port}/");
        let error = Fetcher::new(false)
            .fetch(&url, &Validators::default())
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Refused(_)), "{host}: {error}");
    }
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_no_other() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n10.0.0.1\n")
                .await;
            let _ = stream.shutdown().await;
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let believes = Fetcher::with(true, 1000, Some(Arc::new(roots)));
    let fetched = believes
        .fetch(&format!("https://localhost:{port}/"), &Validators::default())
        .await;
    assert!(matches!(fetched, Ok(Fetched::List { entries: 1, .. })), "{fetched:?}");
    let other = Fetcher::with(true, 1000, Some(Arc::new(rustls::RootCertStore::empty())));
    for (fetcher, host) in [(&believes, "127.0.0.1"), (&other, "localhost")] {
        let url = format!("https://{host}:{port}/");
        let refused = fetcher.fetch(&url, &Validators::default()).await;
        assert!(
            matches!(refused, Err(FetchError::Connect { .. })),
            "{host}: {refused:?}"
        );
    }
}

/// A shelf in memory.
#[derive(Clone)]
struct Memory {
    wanted: watch::Receiver<Wanted>,
    kept: Arc<Mutex<BTreeMap<String, Record>>>,
    lists: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    told: watch::Sender<u64>,
    leads: bool,
}

impl Shelf for Memory {
    fn wanted(&self) -> Wanted {
        self.wanted.borrow().clone()
    }

    async fn changed(&mut self) {
        if self.wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn leads(&self) -> bool {
        self.leads
    }

    fn record(&self, key: &str) -> Option<Record> {
        self.kept.lock().unwrap().get(key).cloned()
    }

    fn keys(&self) -> BTreeSet<String> {
        self.kept.lock().unwrap().keys().cloned().collect()
    }

    async fn keep(&self, record: Record, list: Option<Vec<u8>>) -> Result<(), String> {
        if let Some(list) = list {
            self.lists.lock().unwrap().insert(record.key.clone(), list);
        }
        self.kept.lock().unwrap().insert(record.key.clone(), record);
        self.told.send_modify(|told| *told += 1);
        Ok(())
    }

    async fn forget(&self, key: &str) -> Result<(), String> {
        self.kept.lock().unwrap().remove(key);
        Ok(())
    }
}

#[tokio::test]
async fn the_keeper_fetches_what_is_wanted_and_a_failure_keeps_the_last_good_list() {
    let broken = Arc::new(Mutex::new(false));
    let fails = Arc::clone(&broken);
    let address = serve(move |_, _| match *fails.lock().unwrap() {
        true => answer(500, &[], ""),
        false => answer(200, &[], "198.51.100.7\n203.0.113.0/24\n"),
    })
    .await;
    let url = format!("http://{address}/drop.txt");
    // Due again at once: a real policy cannot ask for that.
    let (want, wanted) = watch::channel(Wanted::new());
    let memory = Memory {
        wanted,
        kept: Arc::default(),
        lists: Arc::default(),
        told: watch::Sender::new(0),
        leads: true,
    };
    let metrics = ListMetrics::new("test").unwrap();
    let mut told = memory.told.subscribe();
    let keeper = tokio::spawn(keep(memory.clone(), Fetcher::new(true), metrics.clone()));
    want.send_replace([(url.clone(), Duration::ZERO)].into());
    let fine = |record: &Record| record.failure.is_none();
    let key = key(&url);
    let kept = |condition: fn(&Record) -> bool| {
        let memory = memory.clone();
        let key = key.clone();
        move |_: &u64| memory.record(&key).is_some_and(|record| condition(&record))
    };
    let _ = told.wait_for(kept(fine)).await.unwrap();
    let good = memory.record(&key).unwrap();
    let contents = good.list.clone().unwrap();
    let compressed = memory.lists.lock().unwrap().get(&key).unwrap().clone();
    let packed = STANDARD.decode(&*restore(&compressed, &contents).unwrap()).unwrap();
    assert_eq!(nets(&packed), ["198.51.100.7/32", "203.0.113.0/24"]);
    *broken.lock().unwrap() = true;
    let _ = told.wait_for(kept(|record| record.failure.is_some())).await.unwrap();
    let failed = memory.record(&key).unwrap();
    assert_eq!(failed.list, good.list);
    assert!(failed.failure.unwrap().message.contains("status 500"));
    let mut text = Vec::new();
    metrics.render(&mut text);
    let text = String::from_utf8(text).unwrap();
    let list = &key[..12];
    for line in [
        format!("test_address_list_entries{{list=\"{list}\"}} 2"),
        format!("test_address_list_fetches_total{{list=\"{list}\",result=\"changed\"}} 1"),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    keeper.abort();
}

#[tokio::test]
async fn a_replica_that_does_not_lead_fetches_nothing() {
    let answers: Answer = |_, _| panic!("it was asked");
    let address = serve(answers).await;
    let url = format!("http://{address}/drop.txt");
    let (want, wanted) = watch::channel(Wanted::new());
    let memory = Memory {
        wanted,
        kept: Arc::default(),
        lists: Arc::default(),
        told: watch::Sender::new(0),
        leads: false,
    };
    let metrics = ListMetrics::new("test").unwrap();
    let looks = keep(memory.clone(), Fetcher::new(true), metrics);
    want.send_replace([(url, Duration::ZERO)].into());
    tokio::pin!(looks);
    for _ in 0..100 {
        let stays = futures_util::poll!(&mut looks);
        assert!(stays.is_pending());
        tokio::task::yield_now().await;
    }
    assert!(memory.keys().is_empty());
}

/// A list that was fetched once, and whether it is there after so much time of the keeper's, with these URLs wanted.
async fn stays(memory: &Memory, url: &str, after: Duration) -> bool {
    tokio::time::sleep(after).await;
    memory.keys().contains(&key(url))
}

fn fetched(url: &str) -> Record {
    let outcome = Ok(Fetched::List {
        packed: vec![0],
        entries: 1,
        validators: Validators::default(),
    });
    Record::after(None, url, outcome, jiff::Timestamp::now()).0
}

#[tokio::test(start_paused = true)]
async fn a_list_that_no_policy_names_any_more_is_deleted_after_an_hour_by_the_leader() {
    const UNUSED: &str = "http://lists.test/unused.txt";
    const USED: &str = "http://lists.test/used.txt";
    let hour = Duration::from_secs(3600);
    for leads in [false, true] {
        let day = 24 * hour;
        let (want, wanted) = watch::channel(Wanted::from([(USED.to_owned(), day), (UNUSED.to_owned(), day)]));
        let records = [USED, UNUSED].map(|url| (key(url), fetched(url)));
        let memory = Memory {
            wanted,
            kept: Arc::new(Mutex::new(records.into())),
            lists: Arc::default(),
            told: watch::Sender::new(0),
            leads,
        };
        let metrics = ListMetrics::new("test").unwrap();
        let keeper = tokio::spawn(keep(memory.clone(), Fetcher::new(true), metrics));
        assert!(stays(&memory, UNUSED, 2 * hour).await, "a policy names it");
        let one = || Wanted::from([(USED.to_owned(), day)]);
        want.send_replace(one());
        assert!(stays(&memory, UNUSED, hour / 2).await, "an edit may be undone");
        want.send_modify(|wanted| {
            let _ = wanted.insert(UNUSED.to_owned(), day);
        });
        assert!(stays(&memory, UNUSED, hour / 4).await);
        want.send_replace(one());
        assert!(stays(&memory, UNUSED, hour * 3 / 4).await, "the hour begins anew");
        assert_eq!(stays(&memory, UNUSED, hour / 2).await, !leads);
        assert!(stays(&memory, USED, 2 * hour).await);
        keeper.abort();
    }
}
