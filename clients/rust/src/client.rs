//! Sends, and receives on for as long as the device lives: what an application copies.

use crate::protos::mustreach::delivery::v1::delivery_service_client::DeliveryServiceClient;
use crate::protos::mustreach::delivery::v1::gap::Reason;
use crate::protos::mustreach::delivery::v1::receive_request::Request as Message;
use crate::protos::mustreach::delivery::v1::subscribe_response::Event;
use crate::protos::mustreach::delivery::v1::{Acknowledgement, ReceiveRequest, SubscribeRequest};
use crate::protos::mustreach::msg::v1::msg_service_client::MsgServiceClient;
use crate::protos::mustreach::msg::v1::{SendBusinessNotificationRequest, SendBusinessNotificationResponse};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// How long one attempt to send may take, and all of them together.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// The delays before connecting or sending again: doubled each time, random in part.
const MIN_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// A stream that is silent for three heartbeats of the service (15 s each) is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

const TOKEN_EXPIRED: i32 = 1501;
/// Trying again does not mend these: a wrong argument, no permission, a token that is wrong or was revoked.
const FATAL: [i32; 7] = [1001, 1002, 1503, 1504, 1505, 1506, 1507];

/// What an error says, from its google.rpc details.
#[derive(Debug)]
pub struct Error {
    /// OpenIM's code; 0 when the service did not answer.
    pub err_code: i32,
    pub err_msg: String,
    pub err_dlt: String,
    /// How long to wait before trying again; none when trying again does not mend it.
    pub retry_after: Option<Duration>,
    /// The fields of the request that were wrong.
    pub fields: Vec<String>,
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let mut error = Error {
            err_code: 0,
            err_msg: format!("{:?}", status.code()),
            err_dlt: status.message().to_owned(),
            retry_after: details.retry_info().map(|retry| retry.retry_delay.unwrap_or_default()),
            fields: details
                .bad_request()
                .map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
                .unwrap_or_default(),
        };
        match details.error_info().filter(|info| info.domain == "mustreach") {
            Some(info) => {
                let of = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
                error.err_code = of("errCode").parse().unwrap_or(0);
                error.err_msg = of("errMsg");
                error.err_dlt = of("errDlt");
            }
            // The network's own errors have no details; hyper's are unknown.
            None => match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                    error.retry_after.get_or_insert(Duration::ZERO);
                }
                _ => {}
            },
        }
        error
    }
}

/// Delays that double with each failure, and are random in part so that clients spread out.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn next(&mut self) -> Duration {
        let delay = MAX_DELAY.min(MIN_DELAY * 2_u32.pow(self.0.min(10)));
        self.0 += 1;
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// A token as metadata: a wrong one is told by the service, not here.
fn with_token<T>(token: &str, message: T) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value = token.parse().map_err(|_| Status::invalid_argument("the token is no text for metadata"))?;
    request.metadata_mut().insert("token", value);
    Ok(request)
}

/// Sends until there is an answer. The request has a client_msg_id, so that it is accepted once.
pub async fn send(
    channel: Channel,
    token: impl Fn() -> io::Result<String>,
    notification: SendBusinessNotificationRequest,
) -> Result<SendBusinessNotificationResponse, Error> {
    assert!(!notification.client_msg_id.is_empty(), "a send that is tried again needs a client_msg_id");
    let mut client = MsgServiceClient::new(channel);
    let mut backoff = Backoff::default();
    let give_up_at = Instant::now() + SEND_TIMEOUT;
    loop {
        let token = token().map_err(|error| Status::unauthenticated(error.to_string()))?;
        let mut request = with_token(&token, notification.clone())?;
        request.set_timeout(ATTEMPT_TIMEOUT);
        let error = match client.send_business_notification(request).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Error::from(status),
        };
        let Some(retry_after) = error.retry_after else { return Err(error) };
        let delay = retry_after.max(backoff.next());
        if Instant::now() + delay > give_up_at {
            return Err(error);
        }
        sleep(delay).await;
    }
}

/// How far the device is: the sequence and its epoch, in a file. Keep it where your handler's effects are, in the same
/// transaction, and each notification takes effect exactly once even when the machine dies in between.
pub struct Record {
    path: PathBuf,
    place: Option<(u64, String)>,
}

impl Record {
    pub fn load(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let place = match fs::read_to_string(&path) {
            Ok(text) => {
                let (sequence, epoch) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
                let sequence = sequence.parse().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                Some((sequence, epoch.to_owned()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, place })
    }

    fn save(&mut self, sequence: u64, epoch: &str) -> io::Result<()> {
        let draft = self.path.with_added_extension("new");
        let mut file = File::create(&draft)?;
        writeln!(file, "{sequence} {epoch}")?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        self.place = Some((sequence, epoch.to_owned()));
        Ok(())
    }
}

/// Receives for one device.
pub struct Receiver<T, H, X> {
    pub channel: Channel,
    /// Gives the user's token; asked again after 1501.
    pub token: T,
    pub device_id: String,
    pub record: Record,
    /// Gets each event once, in order. What it fails to handle comes again.
    pub handle: H,
    /// Says that a new token is needed.
    pub on_expired: X,
}

impl<T, H, X> Receiver<T, H, X>
where
    T: Fn() -> io::Result<String>,
    H: FnMut(&Event) -> io::Result<()>,
    X: Fn(),
{
    /// Runs one session after another, and returns the error that connecting again does not mend.
    pub async fn run(mut self) -> Error {
        let mut refused = None;
        let mut backoff = Backoff::default();
        loop {
            let mut advice = None;
            // After 1501 with a new token only.
            if let Some(token) = (self.token)().ok().filter(|token| Some(token) != refused.as_ref()) {
                match self.run_session(&token, &mut backoff).await {
                    Ok(reconnect_after) => advice = reconnect_after,
                    Err(status) => {
                        let error = Error::from(status);
                        if FATAL.contains(&error.err_code) {
                            return error;
                        }
                        if error.err_code == TOKEN_EXPIRED {
                            refused = Some(token);
                            (self.on_expired)();
                            continue;
                        }
                        advice = error.retry_after.filter(|delay| !delay.is_zero());
                    }
                }
            }
            sleep(match advice {
                // At least as long as the service asks for, and not all devices at once.
                Some(advice) => advice + MIN_DELAY.max(advice / 2).mul_f64(fastrand::f64()),
                None => backoff.next(),
            })
            .await;
        }
    }

    /// Runs one stream to its end, and returns the service's advice how long to wait.
    async fn run_session(&mut self, token: &str, backoff: &mut Backoff) -> Result<Option<Duration>, Status> {
        let (outgoing, requests) = unbounded_channel();
        let subscribe = SubscribeRequest {
            device_id: self.device_id.clone(),
            after_sequence: self.record.place.as_ref().map(|(sequence, _)| *sequence),
            epoch: self.record.place.as_ref().map(|(_, epoch)| epoch.clone()).unwrap_or_default(),
            ..Default::default()
        };
        say(&outgoing, Message::Subscribe(subscribe));
        let request = with_token(token, UnboundedReceiverStream::new(requests))?;
        let silent = |_| Status::unavailable("nothing was heard for too long");
        let mut client = DeliveryServiceClient::new(self.channel.clone());
        let mut events = timeout(IDLE_TIMEOUT, client.receive(request)).await.map_err(silent)??.into_inner();
        loop {
            // An event of a newer service is none.
            let event = match timeout(IDLE_TIMEOUT, events.message()).await.map_err(silent)?? {
                None => return Ok(None),
                Some(response) => response.event,
            };
            match event {
                Some(Event::Reconnect(reconnect)) => {
                    return Ok(Some(Duration::from_millis(reconnect.after_ms.max(0) as u64)));
                }
                Some(event) => self
                    .take(event, &outgoing, backoff)
                    .map_err(|error| Status::unavailable(format!("it was not handled: {error}")))?,
                None => {}
            }
        }
    }

    /// Handles one event, records it and acknowledges it, in this order.
    fn take(
        &mut self,
        event: Event,
        outgoing: &UnboundedSender<ReceiveRequest>,
        backoff: &mut Backoff,
    ) -> io::Result<()> {
        let known = self.record.place.as_ref().map(|(sequence, _)| *sequence);
        if let Event::Ready(ready) = &event {
            *backoff = Backoff::default();
            // Another store than the one we know: take what comes.
            if known.is_some_and(|known| ready.resume_sequence < known) {
                self.record.save(ready.resume_sequence, &ready.epoch)?;
            }
            return (self.handle)(&event);
        }
        // A heartbeat has no place.
        let Some((sequence, epoch)) = place_of(&event) else { return Ok(()) };
        // Nor has an online push, which is neither recorded nor acknowledged.
        if sequence == 0 {
            return (self.handle)(&event);
        }
        // It sets the record back, to a sequence that may be below it.
        let is_other_store = matches!(&event, Event::Gap(gap) if gap.reason() == Reason::StoreChanged);
        let is_new = is_other_store || known.is_none_or(|known| sequence > known);
        // Of what this device has handled, it is told at the same sequence that another one has, too.
        if is_new || matches!(event, Event::Settled(_)) {
            (self.handle)(&event)?;
        }
        if is_new {
            self.record.save(sequence, epoch)?;
        }
        if let Some((sequence, epoch)) = self.record.place.clone() {
            say(outgoing, Message::Acknowledge(Acknowledgement { sequence, epoch }));
        }
        Ok(())
    }
}

/// Of a stream that has ended, the next event tells why.
fn say(outgoing: &UnboundedSender<ReceiveRequest>, message: Message) {
    let _ = outgoing.send(ReceiveRequest { request: Some(message) });
}

/// The sequence and the epoch to record and acknowledge; none for an event that has none.
fn place_of(event: &Event) -> Option<(u64, &str)> {
    match event {
        Event::Notification(got) => Some((got.sequence, &got.epoch)),
        Event::Message(got) => got.notification.as_ref().map(|got| (got.sequence, got.epoch.as_str())),
        Event::Recall(got) => Some((got.sequence, &got.epoch)),
        Event::Settled(settled) => Some((settled.sequence, &settled.epoch)),
        Event::Gap(gap) => Some((gap.to, &gap.epoch)),
        _ => None,
    }
}
