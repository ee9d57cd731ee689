//! Sends one notification, or receives and prints: `send USER ID KEY DATA`, `receive`.

mod client;
mod protos {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

use protos::mustreach::delivery::v1::subscribe_response::Event;
use protos::mustreach::msg::v1::SendBusinessNotificationRequest;
use std::env::{args, var};
use std::error::Error;
use std::process::ExitCode;
use std::{fs, io};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Whoever renews the token puts the new one there.
fn read_token() -> io::Result<String> {
    Ok(fs::read_to_string(var("TOKEN_FILE").unwrap_or_default())?.trim().to_owned())
}

fn handle(event: &Event) -> io::Result<()> {
    match event {
        Event::Ready(ready) => println!("ready\t{}", ready.resume_sequence),
        Event::Notification(got) => {
            let kind = if got.sequence == 0 { "push" } else { "notification" };
            println!("{kind}\t{}\t{}\t{}\t{}", got.sequence, got.client_msg_id, got.key, got.data);
        }
        Event::Message(message) => {
            let got = message.notification.clone().unwrap_or_default();
            println!("message\t{}\t{}\t{}", got.sequence, got.client_msg_id, message.conversation_id);
        }
        Event::Recall(recall) => println!("recall\t{}\t{}", recall.sequence, recall.client_msg_id),
        Event::Settled(settled) => println!("settled\t{}\t{}", settled.sequence, settled.client_msg_id),
        Event::Gap(gap) => println!("gap\t{}\t{}", gap.to, gap.reason().as_str_name()),
        _ => {}
    }
    Ok(())
}

/// TLS with the authorities of CA_FILE, and, for mTLS, a certificate of the client's own; else plain text.
fn connect() -> Result<Channel, Box<dyn Error>> {
    let address = var("ADDRESS")?;
    let Ok(ca) = var("CA_FILE") else {
        return Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy());
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca)?));
    if let Ok(cert) = var("CERT_FILE") {
        tls = tls.identity(Identity::from_pem(fs::read(cert)?, fs::read(var("KEY_FILE")?)?));
    }
    // It connects by itself, and again.
    Ok(Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.connect_lazy())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let channel = connect()?;
    let args: Vec<String> = args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", user, id, key, data] => {
            let notification = SendBusinessNotificationRequest {
                send_user_id: "imAdmin".into(),
                recv_user_id: user.into(),
                client_msg_id: id.into(),
                key: key.into(),
                data: Some(data.into()),
                reliability_level: Some(2),
                ..Default::default()
            };
            match client::send(channel, read_token, notification).await {
                Ok(sent) => println!("sent\t{}\t{}", sent.client_msg_id, sent.server_msg_id),
                Err(error) => {
                    println!("error\t{}\t{}\t{}", error.err_code, error.err_msg, error.fields.join(","));
                    return Ok(ExitCode::FAILURE);
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        ["receive"] => {
            let receiver = client::Receiver {
                channel,
                token: read_token,
                device_id: var("DEVICE_ID")?,
                record: client::Record::load(var("STATE_FILE")?)?,
                handle,
                on_expired: || println!("expired"),
            };
            let error = receiver.run().await;
            println!("ended\t{}\t{}\t{}", error.err_code, error.err_msg, error.err_dlt);
            Ok(ExitCode::FAILURE)
        }
        _ => Err("send USER ID KEY DATA, or receive".into()),
    }
}
