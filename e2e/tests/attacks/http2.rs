//! Clients that use the frames of HTTP/2 to make work, or to hold on to what others need.

use breakwater_e2e::{
    Error, Result,
    http2::{
        CONTINUATION, Connection, DATA, END, END_HEADERS, Frame, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, request, string,
    },
};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    ATTACKERS, Attacked, DRIP, FEW, LARGE, NO_MORE, OTHERS, PROXIED, ROOM, STORED, connect_narrow, read_to_end,
};

/// NO_ERROR.
const NONE: u32 = 0;

/// CANCEL.
const CANCEL: u32 = 8;

/// ENHANCE_YOUR_CALM.
const CALM: u32 = 11;

/// One flood at a time: each is to be too much for its server, not for the machine.
static FLOODS: Mutex<()> = Mutex::const_new(());

/// Requests of one connection that hoards windows.
const HOARD: usize = 10;

/// Times that a frame is repeated in one write.
const BATCH: usize = 32;

#[tokio::test]
async fn rapid_resets_are_cut_off_and_others_are_served() -> Result<()> {
    let attack = || {
        let mut stream = 1;
        move || {
            let mut bytes = Vec::new();
            for _ in 0..BATCH {
                let head = request("GET", "shop.test", PROXIED);
                bytes.extend(frame(HEADERS, END | END_HEADERS, stream, &head));
                bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
                stream += 2;
            }
            bytes
        }
    };
    calmed(attack, &["http2-resets"]).await
}

#[tokio::test]
async fn heads_continued_for_ever_are_cut_off_and_others_are_served() -> Result<()> {
    let attack = || {
        let mut first = Some(frame(HEADERS, END, 1, &request("GET", "shop.test", PROXIED)));
        move || match first.take() {
            Some(head) => head,
            None => frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).repeat(BATCH),
        }
    };
    calmed(attack, &["http2-continuations"]).await
}

#[tokio::test]
async fn floods_of_pings_are_cut_off_and_others_are_served() -> Result<()> {
    let attack = || || frame(PING, 0, 0, b"8 bytes.").repeat(BATCH);
    // As many as are forgiven, or as the answers may take that wait to be sent: how the kernel cuts the flood decides.
    calmed(attack, &["http2-overhead", "http2-control-output"]).await
}

#[tokio::test]
async fn floods_of_settings_are_cut_off_and_others_are_served() -> Result<()> {
    let attack = || || frame(SETTINGS, 0, 0, &[]).repeat(BATCH);
    calmed(attack, &["http2-overhead", "http2-control-output"]).await
}

#[tokio::test]
async fn floods_of_empty_data_are_cut_off_and_others_are_served() -> Result<()> {
    let attack = || {
        let mut first = Some(frame(HEADERS, END_HEADERS, 1, &request("POST", "shop.test", "/upload")));
        move || match first.take() {
            Some(head) => head,
            None => frame(DATA, 0, 1, &[]).repeat(BATCH),
        }
    };
    calmed(attack, &["http2-glitches"]).await
}

#[tokio::test]
async fn heads_that_unpack_to_megabytes_are_cut_off_and_others_are_served() -> Result<()> {
    let attack = || {
        let mut stream = 1;
        move || {
            let mut bomb = request("GET", "shop.test", PROXIED);
            // A field that is kept in the table, then references to it of one byte each (RFC 7541 section 6).
            bomb.push(0x40);
            string(&mut bomb, "bomb");
            string(&mut bomb, &"x".repeat(3000));
            bomb.extend([0x80 | 62].repeat(1000));
            let bytes = frame(HEADERS, END | END_HEADERS, stream, &bomb);
            stream += 2;
            bytes
        }
    };
    calmed(attack, &["http2-glitches"]).await
}

#[tokio::test]
async fn windows_that_stay_shut_end_their_streams_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start(NO_MORE).await?;
    // From now on it comes from the cache: the origin is not what is slow.
    target.up.wait_status("shop.test", "/large", "", 200).await?;
    let mut attack = JoinSet::new();
    for _ in 0..ATTACKERS {
        let front = target.up.front;
        attack.spawn(async move {
            let mut connection = Connection::open(front, &[(INITIAL_WINDOW_SIZE, 0)]).await?;
            for _ in 0..HOARD {
                connection.ask("shop.test", "/large").await?;
            }
            let mut resets = Vec::new();
            while resets.len() < HOARD
                && let Some(frame) = connection.next().await?
            {
                assert_ne!(frame.kind, DATA, "no window allows it");
                resets.extend((frame.kind == RST_STREAM).then(|| (frame.stream, frame.code())));
            }
            // Who opens windows is served on the same connection.
            let window = 65_535_u32.to_be_bytes();
            let open = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window].concat();
            connection.write(&frame(SETTINGS, 0, 0, &open)).await?;
            let after = connection.get("shop.test", STORED).await?;
            Ok::<_, Error>((resets, after))
        });
    }
    for (mut resets, after) in target.watch(attack).await? {
        resets.sort_unstable();
        let every: Vec<_> = (0..HOARD as u32).map(|n| (2 * n + 1, Some(CANCEL))).collect();
        assert_eq!(resets, every);
        assert_eq!(after, (200, STORED.to_owned()));
    }
    target.refused(&["send_timeout"], ATTACKERS * HOARD).await?;
    target.end().await
}

#[tokio::test]
async fn answers_over_http2_that_nobody_reads_are_given_up_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start(NO_MORE).await?;
    target.up.wait_status("shop.test", "/large", "", 200).await?;
    let mut attack = JoinSet::new();
    for _ in 0..ATTACKERS {
        let front = target.up.front;
        attack.spawn(async move {
            let stream = connect_narrow(front).await?;
            // The windows allow all of it.
            let most = i32::MAX as u32;
            let mut connection = Connection::over(stream, &[(INITIAL_WINDOW_SIZE, most)]).await?;
            let more = (most - 65_535).to_be_bytes();
            connection.write(&frame(WINDOW_UPDATE, 0, 0, &more)).await?;
            connection.ask("shop.test", "/large").await?;
            Ok(connection.into_stream())
        });
    }
    let streams = target.watch(attack).await?;
    target.refused(&["send_timeout"], ATTACKERS).await?;
    for stream in streams {
        let taken = read_to_end(stream).await?.len();
        assert!(taken < LARGE, "{taken} bytes are the whole answer");
    }
    target.end().await
}

#[tokio::test]
async fn idle_connections_of_http2_make_room_and_end_in_time_however_often_they_ping() -> Result<()> {
    let mut target = Attacked::start(FEW).await?;
    let mut held = Vec::new();
    for place in 0..ATTACKERS {
        if place == ROOM - OTHERS {
            target.others_ask().await?;
        }
        let mut connection = Connection::open(target.up.front, &[]).await?;
        let answer = connection.get("shop.test", STORED).await?;
        assert_eq!(answer, (200, STORED.to_owned()), "each is served before it is idle");
        held.push(connection);
    }
    let evicted = target.evicted().await?;
    // The oldest went first, and was told.
    let mut attack = JoinSet::new();
    for connection in held.drain(..ATTACKERS + OTHERS - ROOM) {
        attack.spawn(async move { Ok(rest(connection).await) });
    }
    for said in target.watch(attack).await? {
        assert_eq!(told(&said), Some(NONE), "{said:?}");
    }
    let mut attack = JoinSet::new();
    for mut connection in held {
        attack.spawn(async move {
            while connection.write(&frame(PING, 0, 0, b"8 bytes.")).await.is_ok() {
                tokio::time::sleep(DRIP).await;
            }
            Ok(rest(connection).await)
        });
    }
    let mut pongs = 0;
    for said in target.watch(attack).await? {
        assert_eq!(told(&said), Some(NONE), "{said:?}");
        pongs += said.iter().filter(|frame| frame.kind == PING).count();
    }
    assert!(pongs > 0, "they were there");
    assert_eq!(
        target.evicted().await?,
        evicted,
        "these ended for the time they were idle"
    );
    target.end().await
}

/// Lets every attacker do this until its connection ends: each is told why, and each is counted under one of `reasons`.
async fn calmed<A>(attack: impl Fn() -> A, reasons: &[&str]) -> Result<()>
where
    A: FnMut() -> Vec<u8> + Send + 'static,
{
    let _alone = FLOODS.lock().await;
    let mut target = Attacked::start(NO_MORE).await?;
    // All of them before the flood: it may make the worker late, which then refuses new connections.
    let mut connections = Vec::new();
    for _ in 0..ATTACKERS {
        connections.push(Connection::open(target.up.front, &[]).await?);
    }
    let mut attackers = JoinSet::new();
    for connection in connections {
        let more = attack();
        attackers.spawn(async move { Ok(connection.flood(more).await) });
    }
    for said in target.watch(attackers).await? {
        assert_eq!(told(&said), Some(CALM), "{said:?}");
    }
    target.refused(reasons, ATTACKERS).await?;
    target.end().await
}

/// What comes until the end of the connection, be it a reset.
async fn rest(mut connection: Connection) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = connection.next().await {
        frames.push(frame);
    }
    frames
}

/// The code of GOAWAY, if it was the last word.
fn told(said: &[Frame]) -> Option<u32> {
    said.last().filter(|frame| frame.kind == GOAWAY)?.code()
}
