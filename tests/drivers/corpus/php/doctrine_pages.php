<?php
// Pages of Doctrine's ORM, mapped by attributes.

require_once 'Doctrine/ORM/autoload.php';
require_once __DIR__ . '/pages.php';

use Doctrine\DBAL\DriverManager;
use Doctrine\ORM\Configuration;
use Doctrine\ORM\EntityManager;
use Doctrine\ORM\Mapping as ORM;
use Doctrine\ORM\Mapping\Driver\AttributeDriver;
use Doctrine\ORM\Proxy\ProxyFactory;
use Doctrine\ORM\Tools\Pagination\Paginator;

#[ORM\Entity]
#[ORM\Table(name: 'authors')]
class Author
{
    #[ORM\Id, ORM\Column, ORM\GeneratedValue]
    public ?int $id = null;
    #[ORM\Column]
    public string $name = '';
    #[ORM\OneToMany(mappedBy: 'author', targetEntity: Post::class)]
    public $posts;
}

#[ORM\Entity]
#[ORM\Table(name: 'posts')]
class Post
{
    #[ORM\Id, ORM\Column, ORM\GeneratedValue]
    public ?int $id = null;
    #[ORM\Column]
    public string $title = '';
    #[ORM\Column]
    public int $views = 0;
    #[ORM\ManyToOne(targetEntity: Author::class, inversedBy: 'posts')]
    public ?Author $author = null;
    #[ORM\OneToMany(mappedBy: 'post', targetEntity: Comment::class)]
    public $comments;
}

#[ORM\Entity]
#[ORM\Table(name: 'comments')]
class Comment
{
    #[ORM\Id, ORM\Column, ORM\GeneratedValue]
    public ?int $id = null;
    #[ORM\Column]
    public string $body = '';
    #[ORM\ManyToOne(targetEntity: Post::class, inversedBy: 'comments')]
    public ?Post $post = null;
}

function comments(EntityManager $manager): void
{
    foreach (range(1, 15) as $number) {
        $comment = new Comment();
        $comment->body = 'new';
        $comment->post = $manager->getReference(Post::class, $number);
        $manager->persist($comment);
    }
    $manager->flush();
}

$pages = [
    'posts_lazy' => function (EntityManager $manager) {
        foreach ($manager->createQuery('SELECT p FROM Post p ORDER BY p.id')->getResult() as $post) {
            $post->author->__load();
        }
    },
    'posts_ahead' => fn ($manager) => $manager->createQuery('SELECT p, a FROM Post p JOIN p.author a')->getResult(),
    'comments_lazy' => function (EntityManager $manager) {
        foreach ($manager->getRepository(Post::class)->findBy([], ['id' => 'DESC'], 15) as $post) {
            $post->comments->toArray();
        }
    },
    'counts_lazy' => function (EntityManager $manager) {
        foreach ($manager->getRepository(Author::class)->findAll() as $author) {
            $manager->getRepository(Post::class)->count(['author' => $author]);
        }
    },
    'nested_lazy' => function (EntityManager $manager) {
        foreach ($manager->getRepository(Author::class)->findBy([], ['name' => 'ASC'], 6) as $author) {
            foreach ($author->posts as $post) {
                $post->comments->toArray();
            }
        }
    },
    'names_from_api' => function (EntityManager $manager) {
        foreach (range(1, 12) as $number) {
            $manager->getRepository(Author::class)->findOneBy(['name' => "author $number"]);
        }
    },
    'few_lookups' => fn ($manager) => array_map(fn ($number) => $manager->find(Author::class, $number), [3, 8, 5]),
    'paginate' => function (EntityManager $manager) {
        $query = $manager->createQuery('SELECT p FROM Post p WHERE p.views = 0 ORDER BY p.id')->setMaxResults(10);
        $page = new Paginator($query, fetchJoinCollection: false);
        return [count($page), iterator_to_array($page)];
    },
    'get_after_create' => function (EntityManager $manager) {
        $post = new Post();
        $post->title = 'new';
        $post->author = $manager->getReference(Author::class, 2);
        $manager->persist($post);
        $manager->flush();
        $manager->refresh($post);
    },
    'bulk_at_once' => comments(...),
    'update_singly' => function (EntityManager $manager) {
        foreach ($manager->getRepository(Post::class)->findBy([], ['id' => 'ASC'], 12) as $post) {
            $post->views += 1;
            $manager->flush();
        }
    },
];

run('doctrine', $pages, function (callable $page) {
    $address = address();
    $configuration = new Configuration();
    $configuration->setMetadataDriverImpl(new AttributeDriver([]));
    $configuration->setProxyDir(sys_get_temp_dir());
    $configuration->setProxyNamespace('Proxies');
    $configuration->setAutoGenerateProxyClasses(ProxyFactory::AUTOGENERATE_EVAL);
    $connection = DriverManager::getConnection([
        'driver' => 'pdo_pgsql', 'host' => $address['host'], 'port' => $address['port'],
        'dbname' => ltrim($address['path'], '/'), 'user' => $address['user'],
    ], $configuration);
    $page(new EntityManager($connection, $configuration));
    $connection->close();
});
