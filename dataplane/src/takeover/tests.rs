use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use breakwater_snapshot::Snapshot;

use super::*;
use crate::Options;

const ANY_PORT: &str = "127.0.0.1:0";

fn any_port() -> SocketAddr {
    ANY_PORT.parse().unwrap()
}

fn options(workers: usize) -> Options {
    Options {
        listen: vec![any_port().into()],
        workers,
        memory: 16 << 20,
        ..Options::default()
    }
}

async fn running(workers: usize) -> Arc<DataPlane> {
    let plane = Arc::new(DataPlane::start(&options(workers)).unwrap());
    plane.serve_admin(any_port(), axum::Router::new()).await.unwrap();
    plane.apply(&Snapshot::default()).await;
    plane
}

fn handing_over(dir: &Path, plane: &Arc<DataPlane>) -> tokio::task::JoinHandle<Result<Option<i32>, TakeoverError>> {
    let (mut door, plane) = (Door::open(dir).unwrap(), Arc::clone(plane));
    tokio::spawn(async move { door.hand_over(&plane).await })
}

#[tokio::test]
async fn sockets_change_hands_whatever_the_number_of_workers() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = running(3).await;
    let (front, admin) = (plane.addresses()[0], plane.listening_sockets().unwrap().len() - 1);
    assert_eq!(admin, 3);
    for (workers, sockets) in [(1, 4), (5, 4), (2, 6)] {
        let handed = handing_over(dir.path(), &plane);
        let (claim, given) = Claim::make(dir.path()).await.unwrap();
        assert_eq!(given.len(), sockets);
        let next = Arc::new(DataPlane::take_over(&options(workers), any_port(), given).unwrap());
        assert_eq!(next.addresses(), [front]);
        next.serve_admin(any_port(), axum::Router::new()).await.unwrap();
        next.apply(&Snapshot::default()).await;
        assert!(!handed.is_finished());
        next.accept().await.unwrap();
        assert!(claim.ready().await.unwrap());
        handed.await.unwrap().unwrap();
        // The path is left to the new process, whenever it takes it.
        assert!(dir.path().join(NAME).exists());
        plane.drain(Duration::from_secs(30)).await;
        TcpStream::connect(front).unwrap();
        plane = next;
    }
    plane.drain(Duration::from_secs(30)).await;
    TcpStream::connect(front).unwrap_err();
}

#[tokio::test]
async fn a_process_that_ends_before_it_is_ready_leaves_the_old_one_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let plane = running(2).await;
    let handed = handing_over(dir.path(), &plane);
    let (claim, sockets) = Claim::make(dir.path()).await.unwrap();
    let failed = DataPlane::take_over(&options(4), any_port(), sockets).unwrap();
    failed.apply(&Snapshot::default()).await;
    drop((claim, failed));
    let error = handed.await.unwrap().unwrap_err();
    assert!(matches!(error, TakeoverError::Ended), "{error}");
    assert!(plane.ready());
    // Both sockets still take connections in; there are no others.
    assert_eq!(plane.listening_sockets().unwrap().len(), 3);
    TcpStream::connect(plane.addresses()[0]).unwrap();
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let plane = running(1).await;
    let handed = handing_over(dir.path(), &plane);
    let stream = UnixStream::connect(dir.path().join(NAME)).await.unwrap();
    send(&stream, VERSION + 1).await.unwrap();
    assert_eq!(receive(&stream, ANSWER).await.unwrap(), VERSION);
    assert_eq!(receive(&stream, ANSWER).await.unwrap(), OTHER_VERSION);
    let said = handed.await.unwrap().unwrap_err().to_string();
    assert!(said.contains("protocol 2, this one by 1"), "{said}");
}

#[tokio::test]
async fn a_process_that_drains_has_nothing_to_hand_over() {
    let dir = tempfile::tempdir().unwrap();
    let plane = running(1).await;
    plane.drain(Duration::from_secs(30)).await;
    let handed = handing_over(dir.path(), &plane);
    let refused = Claim::make(dir.path()).await.unwrap_err();
    assert!(matches!(refused, TakeoverError::Leaving), "{refused}");
    assert!(matches!(handed.await.unwrap(), Err(TakeoverError::Leaving)));
}

#[tokio::test]
async fn the_door_is_the_owners_and_goes_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let first = Door::open(dir.path()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let second = Door::open(dir.path()).unwrap();
    drop(first);
    assert!(path.exists(), "it is the second's now");
    drop(second);
    assert!(!path.exists());
    let error = Claim::make(dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("no process to take over"), "{error}");
}
