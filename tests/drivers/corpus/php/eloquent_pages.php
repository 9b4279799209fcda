<?php
// Pages of Eloquent, Laravel's ORM.

require_once 'Illuminate/Database/autoload.php';
require_once 'Illuminate/Pagination/autoload.php';
require_once __DIR__ . '/pages.php';

use Illuminate\Database\Capsule\Manager;
use Illuminate\Database\Eloquent\Model;

abstract class Plain extends Model
{
    public $timestamps = false;
    protected $guarded = [];
}

class Author extends Plain
{
    public function posts()
    {
        return $this->hasMany(Post::class);
    }
}

class Tag extends Plain
{
}

class Comment extends Plain
{
}

class Post extends Plain
{
    public function author()
    {
        return $this->belongsTo(Author::class);
    }

    public function comments()
    {
        return $this->hasMany(Comment::class);
    }

    public function tags()
    {
        return $this->belongsToMany(Tag::class, 'post_tags');
    }
}

class Customer extends Plain
{
    protected $keyType = 'string';
    public $incrementing = false;
}

class Order extends Plain
{
    protected $keyType = 'string';
    public $incrementing = false;

    public function customer()
    {
        return $this->belongsTo(Customer::class);
    }
}

class Setting extends Plain
{
}

class Event extends Plain
{
}

$pages = [
    'posts_lazy' => function () {
        foreach (Post::orderBy('id')->get() as $post) {
            $post->author->name;
        }
    },
    'posts_ahead' => fn () => Post::with('author')->get(),
    'comments_lazy' => function () {
        foreach (Post::limit(15)->get() as $post) {
            $post->comments->count();
        }
    },
    'comments_ahead' => fn () => Post::with('comments')->get(),
    'counts_lazy' => function () {
        foreach (Author::all() as $author) {
            $author->posts()->count();
        }
    },
    'counts_grouped' => fn () => Author::withCount('posts')->get(),
    'nested_lazy' => function () {
        foreach (Author::orderBy('name')->limit(6)->get() as $author) {
            foreach ($author->posts as $post) {
                $post->comments->count();
            }
        }
    },
    'nested_ahead' => fn () => Author::with('posts.comments')->get(),
    'tags_lazy' => function () {
        foreach (Post::all() as $post) {
            $post->tags->count();
        }
    },
    'tags_ahead' => fn () => Post::with('tags')->get(),
    'orders_lazy' => function () {
        foreach (Order::all() as $order) {
            $order->customer->name;
        }
    },
    'last_lazy' => function () {
        foreach (Author::all() as $author) {
            $author->posts()->orderByDesc('published_at')->first();
        }
    },
    'exists_lazy' => function () {
        foreach (Author::all() as $author) {
            $author->posts()->where('views', '>', 0)->exists();
        }
    },
    'names_from_api' => function () {
        foreach (range(1, 12) as $number) {
            Author::firstWhere('name', "author $number");
        }
    },
    'few_lookups' => fn () => array_map(fn ($number) => Author::find($number), [3, 8, 5]),
    'setting_again' => fn () => array_map(fn () => Setting::where('name', 'setting 2')->value('value'), range(1, 4)),
    'paginate' => fn () => Post::where('views', 0)->orderBy('id')->paginate(10, ['*'], 'page', 1),
    'get_after_create' => fn () => Post::create(['author_id' => 2, 'title' => 'new'])->fresh(),
    'bulk_singly' => function () {
        foreach (range(1, 15) as $number) {
            Comment::create(['post_id' => $number, 'body' => 'new']);
        }
    },
    'bulk_at_once' => fn () => Comment::insert(array_map(fn ($number) => ['post_id' => $number, 'body' => 'new'], range(1, 15))),
    'update_singly' => function () {
        foreach (Post::orderBy('id')->limit(12)->get() as $post) {
            $post->update(['views' => $post->views + 1]);
        }
    },
    'update_at_once' => fn () => Post::where('views', 1)->increment('views'),
    'delete_singly' => function () {
        foreach (Comment::orderByDesc('id')->limit(12)->get() as $comment) {
            $comment->delete();
        }
    },
    'export_all' => fn () => Event::all(),
    'export_pages' => fn () => Event::chunkById(300, fn ($events) => $events->count()),
    'offset_pages' => fn () => Event::orderBy('id')->chunk(300, fn ($events) => $events->count()),
    'upsert_few' => fn () => array_map(fn ($name) => Tag::firstOrCreate(['name' => $name]), ['tag 1', 'tag 2', 'tag 3']),
];

run('eloquent', $pages, function (callable $page) {
    $address = address();
    $manager = new Manager();
    $manager->addConnection([
        'driver' => 'pgsql', 'host' => $address['host'], 'port' => $address['port'],
        'database' => ltrim($address['path'], '/'), 'username' => $address['user'], 'password' => '', 'charset' => 'utf8',
    ]);
    $manager->setAsGlobal();
    $manager->bootEloquent();
    $page();
    $manager->getConnection()->disconnect();
});
