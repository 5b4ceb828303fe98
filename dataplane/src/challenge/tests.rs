//! Proofs of work, by sentence.

use super::*;

const WORK: Work = Work { bits: 8, lasts_s: 600 };
const NOW: u64 = 1_800_000_000;

fn about(client: &str) -> About<'static> {
    About {
        policy: "WafPolicy/default/p",
        host: "a.example",
        client: client.parse().unwrap(),
    }
}

fn solve(keys: &Keys, about: About<'_>) -> String {
    let key = keys.newest();
    let until = NOW + WORK.lasts_s;
    let challenge = about.challenge(&key, until);
    let solves = |number: &u32| {
        let text = format!("{challenge}{number}");
        zeros(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) >= u32::from(WORK.bits)
    };
    let number = (0..).find(solves).unwrap();
    format!("{}.{until}.{number}", key.name)
}

fn key(secret: &str) -> PeerKey {
    PeerKey::from_secret(secret.as_bytes())
}

#[test]
fn what_one_node_asked_for_every_node_with_the_key_accepts_and_nobody_else() {
    let (one, two, other) = (Keys::random(), Keys::random(), Keys::random());
    one.set(&[key("a"), key("b")]);
    two.set(&[key("b"), key("c")]);
    other.set(&[key("a")]);
    let client = about("192.0.2.1");
    let value = solve(&one, client);
    assert!(is_solved(&one, client, WORK, &value, NOW) && is_solved(&two, client, WORK, &value, NOW));
    assert!(!is_solved(&other, client, WORK, &value, NOW));
}

#[test]
fn a_proof_is_good_for_one_client_host_and_policy_and_until_its_time() {
    let keys = Keys::random();
    let client = about("2001:db8:0:1::1");
    let value = solve(&keys, client);
    assert!(
        is_solved(&keys, about("2001:db8:0:1:9::2"), WORK, &value, NOW),
        "the same /64"
    );
    assert!(!is_solved(&keys, about("2001:db8:0:2::1"), WORK, &value, NOW));
    for other in [
        About {
            host: "b.example",
            ..client
        },
        About {
            policy: "WafPolicy/default/q",
            ..client
        },
    ] {
        assert!(!is_solved(&keys, other, WORK, &value, NOW));
    }
    assert!(is_solved(&keys, client, WORK, &value, NOW + 599));
    assert!(!is_solved(&keys, client, WORK, &value, NOW + 600));
    assert!(
        is_solved(&keys, client, WORK, &value, NOW - APART_S),
        "by a clock that is late"
    );
    let shorter = Work { lasts_s: 539, ..WORK };
    assert!(
        !is_solved(&keys, client, shorter, &value, NOW),
        "it was asked for more than that"
    );
}

#[test]
fn what_is_no_proof_is_none() {
    let keys = Keys::random();
    let client = about("192.0.2.1");
    let value = solve(&keys, client);
    let (front, _) = value.rsplit_once('.').unwrap();
    let name = keys.newest().name;
    for wrong in [
        String::new(),
        ".".to_owned(),
        front.to_owned(),
        format!("{front}."),
        format!("{front}.-1"),
        format!("{front}.12345678901234567"),
        format!("{value}.1"),
        value.replace(&name, "00000000"),
        value.replace(&name, "é"),
        format!("{name}.99999999999999999999.1"),
    ] {
        assert!(!is_solved(&keys, client, WORK, &wrong, NOW), "{wrong}");
    }
    let hard = Work { bits: 255, ..WORK };
    assert!(!is_solved(&keys, client, hard, &value, NOW));
}

#[test]
fn no_bytes_at_random_are_a_proof_and_each_is_looked_at_without_harm() {
    let keys = Keys::random();
    let client = about("192.0.2.1");
    let name = keys.newest().name;
    let pieces = [
        name.as_str(),
        ".",
        ".",
        "1800000599",
        "1",
        "9",
        "=",
        ";",
        " ",
        "é",
        "bw_",
        "\u{0}",
        "00",
        "x",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5_000 {
        let text: String = (0..random.usize(0..9))
            .map(|_| pieces[random.usize(..pieces.len())])
            .collect();
        let hard = Work { bits: 64, ..WORK };
        assert!(!is_solved(&keys, client, hard, &text, NOW), "{text:?}");
        let field = format!("{}={text}", client.cookie());
        let cookies = std::iter::once(field.as_bytes());
        assert_eq!(keys.prove(client, hard, cookies, NOW), Some(false), "{text:?}");
    }
}

#[test]
fn the_first_four_cookies_of_the_policy_are_looked_at_wherever_they_stand() {
    let keys = Keys::random();
    let client = about("192.0.2.1");
    let good = format!("a=1; {}={}; b", client.cookie(), solve(&keys, client));
    let bad = format!("{}=x", client.cookie());
    let proves = |fields: &[&str]| keys.prove(client, WORK, fields.iter().map(|field| field.as_bytes()), NOW);
    assert_eq!(proves(&[]), None);
    assert_eq!(proves(&["x=y", &good]), Some(true));
    assert_eq!(proves(&[&bad]), Some(false));
    assert_eq!(proves(&[&bad, &good, &bad]), Some(true));
    let three = [bad.as_str(); 3].join(";");
    assert_eq!(proves(&[&three, &good]), Some(true));
    assert_eq!(proves(&[&three, &bad, &good]), Some(false));
}

#[test]
fn the_page_is_small_and_whole_and_nothing_of_a_request_is_markup_in_it() {
    let keys = Keys::random();
    let page = page(&keys, about("192.0.2.1"), WORK, "<script>", NOW);
    let text = std::str::from_utf8(&page).unwrap();
    assert!(page.len() < 4096 && !text.contains('@'), "{} bytes: {text}", page.len());
    assert!(
        text.contains("&lt;script&gt;") && text.contains("data-bits=\"8\""),
        "{text}"
    );
    let script = text
        .split_once("<script>")
        .and_then(|(_, rest)| rest.split_once("</script>"));
    assert_eq!(script.unwrap().0, SCRIPT, "what the policy of the page lets run");
}

#[test]
fn a_key_of_ones_own_is_kept_in_a_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state/challenge.key");
    let name = Keys::kept(&file).unwrap().newest().name;
    assert_eq!(Keys::kept(&file).unwrap().newest().name, name);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Keys::kept(dir.path()).is_err());
}

#[test]
fn pages_are_for_those_who_ask_for_html() {
    assert!(shows_pages("text/html,application/xhtml+xml,*/*;q=0.8"));
    assert!(!shows_pages("*/*") && !shows_pages("application/json"));
}
