<?php
// Not run by a test: there is no PHP where the tests run.
//
// Laravel: app/Services/Sluicegate.php, and how a controller uses it.

namespace App\Services;

use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Http;
use Illuminate\Support\Str;

class Sluicegate
{
    /** Publishes an event, and repeats that until there is an answer: with its key the event counts once. */
    public function publish(string $topic, string $data): ?string
    {
        $path = implode('/', array_map('rawurlencode', explode('/', $topic)));
        return Http::baseUrl(env('SLUICEGATE_CONTROL', 'http://127.0.0.1:8081'))
            ->withHeaders(['Idempotency-Key' => (string) Str::uuid()])
            ->timeout(10)
            ->retry(5, 400, fn ($error) => ! method_exists($error, 'response') || $error->response->status() === 503)
            ->withBody($data, 'text/plain')
            ->post("/events/$path")
            ->throw()
            ->json('id');
    }
}

class OrderController
{
    public function paid(int $order, Sluicegate $sluicegate)
    {
        DB::transaction(function () use ($order, $sluicegate) {
            DB::table('orders')->where('id', $order)->update(['state' => 'paid']);
            // After the commit, so that nobody hears of what was rolled back.
            DB::afterCommit(fn () => $sluicegate->publish("orders/$order", json_encode(['state' => 'paid'])));
        });
    }
}
