using System.Globalization;
using Google.Rpc;
using Grpc.Core;
using Mustreach.Delivery.V1;
using Mustreach.Msg.V1;

namespace Mustreach.Example;

/// <summary>What an error says, from its google.rpc details.</summary>
public sealed class MustreachException : Exception
{
    public const int TokenExpired = 1501;

    /// <summary>Trying again does not mend these: a wrong argument, no permission, a token that is wrong or was revoked.</summary>
    private static readonly HashSet<int> Fatal = [1001, 1002, 1503, 1504, 1505, 1506, 1507];

    private MustreachException(RpcException thrown)
        : base(thrown.Status.Detail, thrown)
    {
        ErrMsg = thrown.StatusCode.ToString();
        ErrDlt = thrown.Status.Detail;
        var details = thrown.GetRpcStatus();
        if (details?.GetDetail<ErrorInfo>() is { Domain: "mustreach" } info)
        {
            ErrCode = int.Parse(info.Metadata["errCode"], CultureInfo.InvariantCulture);
            ErrMsg = info.Metadata["errMsg"];
            ErrDlt = info.Metadata["errDlt"];
        }
        if (details?.GetDetail<RetryInfo>() is { } retry) RetryAfter = retry.RetryDelay.ToTimeSpan();
        if (details?.GetDetail<BadRequest>() is { } bad) Fields = bad.FieldViolations.Select(violation => violation.Field).ToList();
        // The network's own errors have no details.
        if (ErrCode == 0 && thrown.StatusCode is StatusCode.Unavailable or StatusCode.DeadlineExceeded) RetryAfter ??= TimeSpan.Zero;
    }

    /// <summary>OpenIM's code; 0 when the service did not answer.</summary>
    public int ErrCode { get; }

    public string ErrMsg { get; }

    public string ErrDlt { get; }

    /// <summary>How long to wait before trying again; null when trying again does not mend it.</summary>
    public TimeSpan? RetryAfter { get; }

    /// <summary>The fields of the request that were wrong.</summary>
    public IReadOnlyList<string> Fields { get; } = [];

    /// <summary>Whether connecting again does not mend it.</summary>
    public bool IsFatal => Fatal.Contains(ErrCode);

    public static MustreachException Of(RpcException thrown) => new(thrown);
}

/// <summary>Delays that double with each failure, and are random in part so that clients spread out.</summary>
internal sealed class Backoff
{
    public static readonly TimeSpan MinDelay = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan MaxDelay = TimeSpan.FromSeconds(30);

    private int failures;

    public TimeSpan Next()
    {
        var delay = Math.Min(MaxDelay.TotalMilliseconds, MinDelay.TotalMilliseconds * Math.Pow(2, Math.Min(failures++, 10)));
        return TimeSpan.FromMilliseconds(delay * (0.5 + (Random.Shared.NextDouble() / 2)));
    }

    public void Reset() => failures = 0;
}

/// <summary>Sends, for an application's back end.</summary>
public sealed class Sender(ChannelBase channel, Func<string> token)
{
    /// <summary>How long one attempt may take, and all of them together.</summary>
    private static readonly TimeSpan AttemptTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan SendTimeout = TimeSpan.FromSeconds(60);

    private readonly MsgService.MsgServiceClient client = new(channel);

    /// <summary>Sends until there is an answer. The request has a ClientMsgId, so that it is accepted once.</summary>
    public async Task<SendBusinessNotificationResponse> SendAsync(
        SendBusinessNotificationRequest request, CancellationToken cancelled = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(request.ClientMsgId);
        var backoff = new Backoff();
        var giveUpAt = DateTime.UtcNow + SendTimeout;
        while (true)
        {
            MustreachException error;
            try
            {
                var headers = new Metadata { { "token", token() } };
                return await client.SendBusinessNotificationAsync(
                    request, headers, DateTime.UtcNow + AttemptTimeout, cancelled);
            }
            catch (RpcException thrown) when (!cancelled.IsCancellationRequested)
            {
                error = MustreachException.Of(thrown);
            }
            if (error.RetryAfter is not { } retryAfter) throw error;
            var delay = backoff.Next();
            if (retryAfter > delay) delay = retryAfter;
            if (DateTime.UtcNow + delay > giveUpAt) throw error;
            await Task.Delay(delay, cancelled);
        }
    }
}

/// <summary>A place in the user's order, and the epoch that it belongs to.</summary>
public readonly record struct Place(ulong Sequence, string Epoch)
{
    /// <summary>What to record and acknowledge for an event; null for one that has none.</summary>
    public static Place? Of(SubscribeResponse response) => response.EventCase switch
    {
        SubscribeResponse.EventOneofCase.Notification => new(response.Notification.Sequence, response.Notification.Epoch),
        SubscribeResponse.EventOneofCase.Message =>
            new(response.Message.Notification.Sequence, response.Message.Notification.Epoch),
        SubscribeResponse.EventOneofCase.Recall => new(response.Recall.Sequence, response.Recall.Epoch),
        SubscribeResponse.EventOneofCase.Settled => new(response.Settled.Sequence, response.Settled.Epoch),
        SubscribeResponse.EventOneofCase.Gap => new(response.Gap.To, response.Gap.Epoch),
        _ => null,
    };
}

/// <summary>
/// How far the device is: the sequence and its epoch, in a file. Keep it where your handler's effects are, in the same
/// transaction, and each notification takes effect exactly once even when the machine dies in between.
/// </summary>
public sealed class DeviceRecord
{
    private readonly string path;

    public DeviceRecord(string path)
    {
        this.path = path;
        if (!File.Exists(path)) return;
        var words = File.ReadAllText(path).Trim().Split(' ', 2);
        Place = new Place(ulong.Parse(words[0], CultureInfo.InvariantCulture), words.Length > 1 ? words[1] : "");
    }

    /// <summary>Where the device is; null for a new one.</summary>
    public Place? Place { get; private set; }

    public void Save(Place next)
    {
        using (var file = new FileStream(path + ".new", FileMode.Create))
        {
            file.Write(System.Text.Encoding.UTF8.GetBytes(FormattableString.Invariant($"{next.Sequence} {next.Epoch}\n")));
            file.Flush(flushToDisk: true);
        }
        File.Move(path + ".new", path, overwrite: true);
        Place = next;
    }
}

/// <summary>Receives for one device, on for as long as it lives.</summary>
/// <param name="token">Gives the user's token; asked again after 1501.</param>
/// <param name="handle">Gets each event once, in order. What it fails to handle ends the run.</param>
/// <param name="onExpired">Says that a new token is needed.</param>
public sealed class Receiver(
    ChannelBase channel, Func<string> token, string deviceId, DeviceRecord record, Func<SubscribeResponse, Task> handle, Action onExpired)
{
    /// <summary>A stream that is silent for three heartbeats of the service (15 s each) is dead.</summary>
    private static readonly TimeSpan IdleTimeout = TimeSpan.FromSeconds(50);

    private readonly DeliveryService.DeliveryServiceClient client = new(channel);
    private readonly Backoff backoff = new();

    /// <summary>Runs one session after another, and returns the error that connecting again does not mend.</summary>
    public async Task<MustreachException> RunAsync(CancellationToken cancelled = default)
    {
        string? refused = null;
        while (true)
        {
            cancelled.ThrowIfCancellationRequested();
            var current = token();
            // After 1501 with a new token only.
            if (current == refused)
            {
                await Task.Delay(backoff.Next(), cancelled);
                continue;
            }
            TimeSpan? advice;
            try
            {
                advice = await RunSessionAsync(current, cancelled);
            }
            catch (RpcException thrown) when (!cancelled.IsCancellationRequested)
            {
                var error = MustreachException.Of(thrown);
                if (error.IsFatal) return error;
                if (error.ErrCode == MustreachException.TokenExpired)
                {
                    refused = current;
                    onExpired();
                    continue;
                }
                advice = error.RetryAfter is { } delay && delay > TimeSpan.Zero ? delay : null;
            }
            await Task.Delay(advice is { } asked ? Spread(asked) : backoff.Next(), cancelled);
        }
    }

    /// <summary>At least as long as the service asks for, and not all devices at once.</summary>
    private static TimeSpan Spread(TimeSpan advice)
    {
        var most = advice / 2 > Backoff.MinDelay ? advice / 2 : Backoff.MinDelay;
        return advice + (most * Random.Shared.NextDouble());
    }

    /// <summary>Runs one stream to its end, and returns the service's advice how long to wait.</summary>
    private async Task<TimeSpan?> RunSessionAsync(string current, CancellationToken cancelled)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancelled);
        over.CancelAfter(IdleTimeout);
        using var stream = client.Receive(new Metadata { { "token", current } }, cancellationToken: over.Token);
        var subscribe = new SubscribeRequest { DeviceId = deviceId };
        if (record.Place is { } place) (subscribe.AfterSequence, subscribe.Epoch) = (place.Sequence, place.Epoch);
        await stream.RequestStream.WriteAsync(new ReceiveRequest { Subscribe = subscribe }, over.Token);
        while (await stream.ResponseStream.MoveNext(over.Token))
        {
            over.CancelAfter(IdleTimeout);
            var response = stream.ResponseStream.Current;
            if (response.EventCase == SubscribeResponse.EventOneofCase.Reconnect)
            {
                return TimeSpan.FromMilliseconds(response.Reconnect.AfterMs);
            }
            await TakeAsync(response, stream.RequestStream);
        }
        return null;
    }

    /// <summary>Handles one event, records it and acknowledges it, in this order.</summary>
    private async Task TakeAsync(SubscribeResponse response, IClientStreamWriter<ReceiveRequest> requests)
    {
        if (response.EventCase == SubscribeResponse.EventOneofCase.Ready)
        {
            backoff.Reset();
            var ready = response.Ready;
            // Another store than the one we know: take what comes.
            if (record.Place is { } known && ready.ResumeSequence < known.Sequence) record.Save(new(ready.ResumeSequence, ready.Epoch));
            await handle(response);
            return;
        }
        // A heartbeat, or an event of a newer service.
        if (Place.Of(response) is not { } place) return;
        // An online push has no place, and is neither recorded nor acknowledged.
        if (place.Sequence == 0)
        {
            await handle(response);
            return;
        }
        // It sets the record back, to a sequence that may be below it.
        var isOtherStore = response.Gap?.Reason == Gap.Types.Reason.StoreChanged;
        var isNew = isOtherStore || record.Place is not { } at || place.Sequence > at.Sequence;
        // Of what this device has handled, it is told at the same sequence that another one has, too.
        if (isNew || response.EventCase == SubscribeResponse.EventOneofCase.Settled) await handle(response);
        if (isNew) record.Save(place);
        var recorded = record.Place ?? place;
        var acknowledge = new Acknowledgement { Sequence = recorded.Sequence, Epoch = recorded.Epoch };
        await requests.WriteAsync(new ReceiveRequest { Acknowledge = acknowledge });
    }
}
