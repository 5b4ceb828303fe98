//! Waiting for a client within an exchange: for its body, or for it to take the response.
//!
//! No timer: the wait is on the worker's ordered lists, and the least rate is looked at when something moves and when the
//! wait was long.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::ClientError;
use crate::pace::{Least, Pace};
use crate::worker::Worker;
use crate::worker::deadlines::{Deadline, Wait};

/// The patience with a client in one direction of an exchange.
pub(super) struct Patience {
    worker: Rc<Worker>,
    wait: Wait,
    pace: Pace,
    /// Once it has to be waited for.
    deadline: Option<Deadline>,
}

impl Patience {
    /// For the body of its request.
    pub(super) fn with_body(worker: &Rc<Worker>) -> Self {
        Self::new(worker, Wait::Body, Least::BODY)
    }

    /// For it to take the response.
    pub(super) fn with_response(worker: &Rc<Worker>) -> Self {
        Self::new(worker, Wait::Send, Least::SEND)
    }

    fn new(worker: &Rc<Worker>, wait: Wait, least: Least) -> Self {
        Self {
            worker: Rc::clone(worker),
            wait,
            pace: Pace::new(least),
            deadline: None,
        }
    }

    /// Passes on what a read or a write of the client's socket gave, `polled`; [`ClientError::Slow`], counted, when the
    /// patience is over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        polled: &Poll<io::Result<usize>>,
    ) -> Poll<Result<usize, ClientError>> {
        let now = self.worker.clock.now_ms();
        match *polled {
            Poll::Ready(Err(_)) => Poll::Ready(Err(ClientError::Gone)),
            Poll::Ready(Ok(moved)) => {
                self.deadline.iter().for_each(Deadline::clear);
                if !self.pace.moved(moved, now) {
                    return self.over(false);
                }
                Poll::Ready(Ok(moved))
            }
            Poll::Pending => {
                self.pace.wait(now);
                let deadline = self
                    .deadline
                    .get_or_insert_with(|| Deadline::new(&self.worker.deadlines));
                let expired = deadline.expired();
                if expired && (self.wait == Wait::Send || !self.pace.holds(now)) {
                    return self.over(true);
                }
                deadline.wait(self.wait, expired, now, cx.waker());
                Poll::Pending
            }
        }
    }

    fn over(&self, silent: bool) -> Poll<Result<usize, ClientError>> {
        self.worker.cells.refuse(match self.wait {
            Wait::Send if silent => "send_timeout",
            Wait::Send => "send_rate",
            _ => "body_rate",
        });
        Poll::Ready(Err(ClientError::Slow))
    }
}
