// Sends one notification, or receives and prints: `send USER ID KEY DATA`, `receive`.
using Grpc.Net.Client;
using Mustreach.Delivery.V1;
using Mustreach.Example;
using Mustreach.Msg.V1;

var channel = GrpcChannel.ForAddress($"http://{Setting("ADDRESS")}");
switch (args)
{
    case ["send", var user, var id, var key, var data]:
        try
        {
            var sent = await new Sender(channel, ReadToken).SendAsync(new SendBusinessNotificationRequest
            {
                SendUserId = "imAdmin",
                RecvUserId = user,
                ClientMsgId = id,
                Key = key,
                Data = data,
                ReliabilityLevel = 2,
            });
            Say("sent", sent.ClientMsgId, sent.ServerMsgId);
            return 0;
        }
        catch (MustreachException error)
        {
            Say("error", error.ErrCode, error.ErrMsg, string.Join(',', error.Fields));
            return 1;
        }
    case ["receive"]:
        var record = new DeviceRecord(Setting("STATE_FILE"));
        var receiver = new Receiver(channel, ReadToken, Setting("DEVICE_ID"), record, Handle, () => Say("expired"));
        var ended = await receiver.RunAsync();
        Say("ended", ended.ErrCode, ended.ErrMsg, ended.ErrDlt);
        return 1;
    default:
        Console.Error.WriteLine("send USER ID KEY DATA, or receive");
        return 2;
}

static string Setting(string name) => Environment.GetEnvironmentVariable(name) ?? "";

// Whoever renews the token puts the new one there.
static string ReadToken() => File.ReadAllText(Setting("TOKEN_FILE")).Trim();

static void Say(params object[] words) => Console.Out.WriteLine(string.Join('\t', words));

static Task Handle(SubscribeResponse response)
{
    switch (response.EventCase)
    {
        case SubscribeResponse.EventOneofCase.Ready:
            Say("ready", response.Ready.ResumeSequence);
            break;
        case SubscribeResponse.EventOneofCase.Notification:
            var got = response.Notification;
            Say(got.Sequence == 0 ? "push" : "notification", got.Sequence, got.ClientMsgId, got.Key, got.Data);
            break;
        case SubscribeResponse.EventOneofCase.Message:
            var copy = response.Message.Notification;
            Say("message", copy.Sequence, copy.ClientMsgId, response.Message.ConversationId);
            break;
        case SubscribeResponse.EventOneofCase.Recall:
            Say("recall", response.Recall.Sequence, response.Recall.ClientMsgId);
            break;
        case SubscribeResponse.EventOneofCase.Settled:
            Say("settled", response.Settled.Sequence, response.Settled.ClientMsgId);
            break;
        case SubscribeResponse.EventOneofCase.Gap:
            var reasons = Gap.Descriptor.EnumTypes.Single(type => type.Name == "Reason");
            var reason = reasons.FindValueByNumber((int)response.Gap.Reason);
            Say("gap", response.Gap.To, reason?.Name ?? "");
            break;
    }
    return Task.CompletedTask;
}
