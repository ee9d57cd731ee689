//! Sends to USER_ID, receives, acknowledges, and reads the details of an error.

mod protos {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

use protos::mustreach::delivery::v1::delivery_service_client::DeliveryServiceClient;
use protos::mustreach::delivery::v1::subscribe_response::Event;
use protos::mustreach::delivery::v1::{AckRequest, SubscribeRequest, SubscribeResponse};
use protos::mustreach::msg::v1::SendBusinessNotificationRequest;
use protos::mustreach::msg::v1::msg_service_client::MsgServiceClient;
use std::env::var;
use tonic::{Request, Streaming};
use tonic_types::StatusExt;

type Failure = Box<dyn std::error::Error>;

fn with_token<T>(token: &str, message: T) -> Result<Request<T>, Failure> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("token", token.parse()?);
    Ok(request)
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<Event, Failure> {
    let response = stream.message().await?.ok_or("the stream has ended")?;
    Ok(response.event.ok_or("an event that this client does not know")?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let address = format!("http://{}", var("ADDRESS")?);
    let (admin, user) = (var("TOKEN")?, var("USER_TOKEN")?);
    let mut msg = MsgServiceClient::connect(address.clone()).await?;
    let mut delivery = DeliveryServiceClient::connect(address).await?;

    let notification = SendBusinessNotificationRequest {
        send_user_id: "imAdmin".into(),
        recv_user_id: var("USER_ID")?,
        key: "order.paid".into(),
        data: Some("{}".into()),
        reliability_level: Some(2),
        ..Default::default()
    };
    let sent = msg.send_business_notification(with_token(&admin, notification.clone())?).await?.into_inner();

    let phone = SubscribeRequest { device_id: "phone".into(), ..Default::default() };
    let mut stream = delivery.subscribe(with_token(&user, phone.clone())?).await?.into_inner();
    match next(&mut stream).await? {
        Event::Ready(ready) if ready.pending == 1 => {}
        event => return Err(format!("expected one that waits, not {event:?}").into()),
    }
    let sequence = match next(&mut stream).await? {
        Event::Notification(got) if got.server_msg_id == sent.server_msg_id && got.data == "{}" => got.sequence,
        event => return Err(format!("expected what was sent, not {event:?}").into()),
    };
    let ack = AckRequest { device_id: "phone".into(), sequence, ..Default::default() };
    delivery.ack(with_token(&user, ack)?).await?;
    drop(stream);

    let mut again = delivery.subscribe(with_token(&user, phone)?).await?.into_inner();
    match next(&mut again).await? {
        Event::Ready(ready) if ready.resume_sequence == sequence => {}
        event => return Err(format!("expected to resume after {sequence}, not {event:?}").into()),
    }

    let wrong = SendBusinessNotificationRequest { key: String::new(), ..notification };
    let status = msg.send_business_notification(with_token(&admin, wrong)?).await.err().ok_or("it was accepted")?;
    let info = status.get_details_error_info().ok_or("the error has no ErrorInfo")?;
    let of = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
    if info.reason != "ARGS_ERROR" || of("errCode") != "1001" {
        return Err(format!("expected 1001, not {info:?}").into());
    }
    println!("sequence {sequence}, then {} {}", of("errMsg"), of("errCode"));
    Ok(())
}
