SELECT task_id, user_id FROM tasks WHERE NOT EXISTS (SELECT FROM users u WHERE u.user_id = tasks.user_id)
